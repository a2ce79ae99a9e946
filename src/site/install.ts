import { html, type Html } from './html.js';
import { commandBlock } from './design.js';

/** Stands where the farm doesn't know its own address. */
const EXAMPLE_URL = 'https://this-farm.example/';

/** The simple index, as clients are to be told it; `publicUrl` with a slash at its end, or null. */
export const simpleUrl = (publicUrl: string | null): string => `${publicUrl ?? EXAMPLE_URL}simple/`;

/** The host that pip has to be told to trust: one that speaks plain http, unless it is this machine; else undefined. */
export function trustedHost(indexUrl: string): string | undefined {
  const { hostname, protocol } = new URL(indexUrl);
  const loopback = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname);
  return protocol === 'http:' && !loopback ? hostname : undefined;
}

/** The line that installs from this farm, and from nowhere else. */
export function pipInstallCommand(indexUrl: string, requirement: string): string {
  const host = trustedHost(indexUrl);
  return `pip install --index-url ${indexUrl}${host === undefined ? '' : ` --trusted-host ${host}`} ${requirement}`;
}

/** How to have each installer use the farm: [what, where it is written, the lines]. */
export function configurations(publicUrl: string | null): readonly (readonly [string, string, string])[] {
  const url = simpleUrl(publicUrl);
  const host = trustedHost(url);
  return [
    ['pip, this time', 'in a shell', pipInstallCommand(url, 'PACKAGE')],
    [
      'pip, always',
      'in pip.conf (~/.config/pip/pip.conf, or /etc/pip.conf for everybody)',
      `[global]\nextra-index-url = ${url}${host === undefined ? '' : `\ntrusted-host = ${host}`}`,
    ],
    [
      'pip and uv, by environment',
      'in a shell, a Dockerfile or a CI job',
      `export PIP_EXTRA_INDEX_URL=${url}${host === undefined ? '' : `\nexport PIP_TRUSTED_HOST=${host}`}\nexport UV_INDEX=${url}`,
    ],
    ['uv', 'in pyproject.toml', `[[tool.uv.index]]\nname = "piw"\nurl = "${url}"`],
    [
      'Poetry',
      'in the folder of a project',
      `poetry source add --priority=primary piw ${url}\npoetry source add --priority=supplemental PyPI`,
    ],
  ];
}

export const configurationCards = (publicUrl: string | null): Html =>
  html`<div class="cards">
    ${configurations(publicUrl).map(
      ([title, where, lines]) =>
        html`<section class="card">
          <h3>${title}</h3>
          <p class="soft">${where}</p>
          ${commandBlock(lines, title)}
        </section>`,
    )}
  </div>`;

import { html, type Html } from './html.js';
import { commandBlock } from './design.js';

/** Shown if the farm doesn't know its own URL. */
const EXAMPLE_URL = 'https://this-farm.example/';

/** Returns the URL of the simple index for clients. `publicUrl` has a trailing slash, or is null. */
export const simpleUrl = (publicUrl: string | null): string => `${publicUrl ?? EXAMPLE_URL}simple/`;

/** Returns the host that pip has to be told to trust: a plain HTTP host other than localhost; otherwise undefined. */
export function trustedHost(indexUrl: string): string | undefined {
  const { hostname, protocol } = new URL(indexUrl);
  const loopback = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname);
  return protocol === 'http:' && !loopback ? hostname : undefined;
}

/** Returns the command that installs from this farm alone. */
export function pipInstallCommand(indexUrl: string, requirement: string): string {
  const host = trustedHost(indexUrl);
  return `pip install --index-url ${indexUrl}${host === undefined ? '' : ` --trusted-host ${host}`} ${requirement}`;
}

/** Returns how to make each installer use the farm: [title, where the lines go, the lines]. */
function configurations(publicUrl: string | null): readonly (readonly [string, string, string])[] {
  const url = simpleUrl(publicUrl);
  const host = trustedHost(url);
  return [
    ['pip, once', 'in a shell', pipInstallCommand(url, 'PACKAGE')],
    [
      'pip, permanently',
      'in pip.conf (~/.config/pip/pip.conf, or /etc/pip.conf for all users)',
      `[global]\nextra-index-url = ${url}${host === undefined ? '' : `\ntrusted-host = ${host}`}`,
    ],
    [
      'pip and uv, by environment variables',
      'in a shell, a Dockerfile or a CI job',
      `export PIP_EXTRA_INDEX_URL=${url}${host === undefined ? '' : `\nexport PIP_TRUSTED_HOST=${host}`}\nexport UV_INDEX=${url}`,
    ],
    ['uv', 'in pyproject.toml', `[[tool.uv.index]]\nname = "piw"\nurl = "${url}"`],
    [
      'Poetry',
      'in a project’s folder',
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

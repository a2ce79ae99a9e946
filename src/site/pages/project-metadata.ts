import type { CoreMetadata } from '../../model/fields.js';
import type { Project } from '../../model/project.js';
import { html, type Html } from './html.js';
import type { OfferedFiles } from './project-files.js';
import { formatQuantity } from '../../units.js';

/** A longer list of requirements is collapsed. */
const MAX_VISIBLE_REQUIREMENTS = 8;

/** The METADATA of a project's newest wheel, and the version of that wheel. */
export interface NewestMetadata extends CoreMetadata {
  readonly version: string;
}

/** Returns the metadata of the newest wheel whose METADATA was read; a yanked wheel's only if there is no other. */
export function newestMetadata(project: Project, offered: OfferedFiles): NewestMetadata | undefined {
  let yanked: NewestMetadata | undefined;
  for (const version of project.versions) {
    const metadata = offered.get(version.version)?.find((file) => file.core_metadata !== null)?.core_metadata;
    if (!metadata) continue;
    const newest = { version: version.version, ...metadata };
    if (version.yanked === null) return newest;
    yanked ??= newest;
  }
  return yanked;
}

/** Returns the project's own links, with `nofollow`: they lead to other sites, which this one does not vouch for. */
export const linksSection = ({ links }: NewestMetadata): Html =>
  links.length === 0
    ? html``
    : html`<h2 class="minor" id="links">Links</h2>
        <ul class="links">
          ${links.map(
            ([label, url]) =>
              html`<li><a href="${url}" rel="nofollow noopener">${label === '' ? url : label}</a></li>`,
          )}
        </ul>`;

/** Returns the requirements of the newest wheel, collapsed if there are many. */
export function requirementsSection({ version, requires }: NewestMetadata): Html {
  if (requires.length === 0) return html`<p class="soft">Version ${version} requires no other packages.</p>`;
  const list = html`<ul class="requires">
    ${requires.map((requirement) => html`<li><code>${requirement}</code></li>`)}
  </ul>`;
  const title = `Version ${version} requires ${formatQuantity(requires.length, 'package')}`;
  return requires.length <= MAX_VISIBLE_REQUIREMENTS
    ? html`<h2 class="minor">${title}</h2>
        ${list}`
    : html`<details class="requirements">
        <summary>${title}</summary>
        ${list}
      </details>`;
}

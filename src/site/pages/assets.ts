import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { ROOT } from '../../root.js';

const FOLDER = `${ROOT}src/site/static/`;

/** A file with a digest of its content in its name, so that clients can cache it for ever. */
interface Asset {
  /** Relative to the output path, e.g. `static/site.1f2e3d4c5b6a.css`. */
  readonly path: string;
  readonly content: Buffer;
}

function loadAsset(name: string): Asset {
  const content = readFileSync(`${FOLDER}${name}`);
  const digest = createHash('sha256').update(content).digest('hex').slice(0, 12);
  return { path: `static/${name.replace(/(?=\.[a-z]+$)/, `.${digest}`)}`, content };
}

/** Everything that pages load. */
export const ASSETS = {
  style: loadAsset('site.css'),
  script: loadAsset('site.js'),
  mark: loadAsset('mark.svg'),
  share: loadAsset('share.png'),
} as const;

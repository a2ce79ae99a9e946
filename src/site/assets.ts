import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const FOLDER = fileURLToPath(new URL('../../../src/site/static/', import.meta.url));

/** A file that never changes under its name: the name holds a digest of it, so that it can be kept for ever. */
export interface Asset {
  /** Below the output path, as `static/site.1f2e3d4c5b6a.css`. */
  readonly path: string;
  readonly content: Buffer;
}

function loadAsset(name: string): Asset {
  const content = readFileSync(`${FOLDER}${name}`);
  const digest = createHash('sha256').update(content).digest('hex').slice(0, 12);
  return { path: `static/${name.replace(/(?=\.[a-z]+$)/, `.${digest}`)}`, content };
}

/** Everything that pages load beside themselves. */
export const ASSETS = {
  style: loadAsset('site.css'),
  script: loadAsset('site.js'),
  mark: loadAsset('mark.svg'),
  share: loadAsset('share.png'),
} as const;

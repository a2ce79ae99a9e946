/** Writes the generated pages of the documentation and the sample configuration: `npm run docs`. */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ROOT, generatedFiles } from './generated.js';

const files = await generatedFiles();
mkdirSync(join(ROOT, 'docs/commands'), { recursive: true });
for (const name of readdirSync(join(ROOT, 'docs/commands')))
  if (!(`docs/commands/${name}` in files)) rmSync(join(ROOT, 'docs/commands', name));
for (const [path, contents] of Object.entries(files)) {
  mkdirSync(dirname(join(ROOT, path)), { recursive: true });
  writeFileSync(join(ROOT, path), contents);
}
process.stdout.write(`${Object.keys(files).length} files written\n`);
process.exit();

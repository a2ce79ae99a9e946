/** Writes the generated pages of the documentation and the sample configuration: `npm run docs`. */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Database } from '../../src/database/pool.js';
import { ROOT } from '../../src/root.js';
import { TEMPLATE_DATABASE } from '../helpers/database.js';
import { startServers } from '../helpers/servers.js';
import { GENERATED_FOLDERS, generatedFiles } from './generated.js';

/** Calls `use` with a new database that has piw's tables, on a PostgreSQL of its own. */
async function withDatabase<T>(use: (db: Database) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'piw-docs-'));
  // The servers do not run as root.
  chmodSync(folder, 0o755);
  try {
    const servers = await startServers(folder, (line) => process.stderr.write(`${line}\n`));
    try {
      const url = new URL(servers.dsn);
      url.pathname = `/${TEMPLATE_DATABASE}`;
      const db = await Database.open(url.href, 'docs');
      try {
        return await use(db);
      } finally {
        await db.close();
      }
    } finally {
      await servers.stop();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const files = await withDatabase(generatedFiles);
for (const folder of GENERATED_FOLDERS) {
  mkdirSync(join(ROOT, folder), { recursive: true });
  for (const name of readdirSync(join(ROOT, folder)))
    if (!(`${folder}/${name}` in files)) rmSync(join(ROOT, folder, name));
}
for (const [path, contents] of Object.entries(files)) {
  mkdirSync(dirname(join(ROOT, path)), { recursive: true });
  writeFileSync(join(ROOT, path), contents);
}
process.stdout.write(`${Object.keys(files).length} files written\n`);
process.exit();

/** Whether database, published files and index agree, for test/chaos/administrators-commands.ts. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Database } from '../../src/database/pool.js';
import { hashFile } from '../../src/wheels/wheel.js';
import { until } from '../helpers/bus.js';

/** A wheel on the command's side, as it was before the command began. */
export interface Source {
  readonly path: string;
  readonly filename: string;
  readonly sha256: string;
}

interface FileRow extends Readonly<Record<string, unknown>> {
  readonly filename: string;
  readonly sha256: string;
  readonly build_id: number | null;
}

export class CommandsAudit {
  readonly #db: Database;
  readonly #outputPath: string;

  constructor(db: Database, outputPath: string) {
    this.#db = db;
    this.#outputPath = outputPath;
  }

  /** Returns the files of a package by the database. It waits for a database that is being restarted. */
  async listedFiles(name: string): Promise<readonly FileRow[]> {
    return await this.#retry(
      `select filename, sha256, build_id from files join versions using (version_id) join packages using (package_id)
       where package = $1 order by filename`,
      name,
    );
  }

  /** Returns how many builds a package has. */
  async buildCount(name: string): Promise<number> {
    const rows = await this.#retry<{ readonly count: number }>(
      `select count(*)::int as count from builds join versions using (version_id) join packages using (package_id)
       where package = $1`,
      name,
    );
    return rows[0]?.count ?? 0;
  }

  /** Returns why a source that was deleted was needed: it isn't published, or not listed, with the same bytes. */
  async lostSources(name: string, sources: readonly Source[]): Promise<readonly string[]> {
    const deleted = sources.filter(({ path }) => !existsSync(path));
    if (deleted.length === 0) return [];
    const listed = await this.listedFiles(name);
    const lost: string[] = [];
    for (const { filename, sha256 } of deleted) {
      const row = listed.find((file) => file.sha256 === sha256);
      if (row === undefined) lost.push(`${filename} was deleted, and is not in the database`);
      else if ((await this.#digest(name, row.filename)) !== sha256)
        lost.push(`${filename} was deleted, and is not published with the same bytes`);
    }
    return lost;
  }

  /** Returns where database, files and index of a package differ, once every page that was due is written. */
  async differences(name: string): Promise<readonly string[]> {
    await this.pagesWritten(name);
    const faults: string[] = [];
    const listed = await this.listedFiles(name);
    const folder = join(this.#outputPath, 'simple', name);
    const onDisk = existsSync(folder) ? readdirSync(folder) : [];
    const wheels = onDisk.filter((entry) => entry.endsWith('.whl'));
    const indexed = this.#indexedFiles(folder);
    for (const { filename, sha256, build_id: build } of listed) {
      const digest = await this.#digest(name, filename);
      if (digest === undefined) faults.push(`${filename} is in the database, and not on the disk`);
      else if (digest !== sha256)
        faults.push(`${filename} on the disk has other bytes than the database says`);
      if (!onDisk.includes(`${filename}.metadata`)) faults.push(`${filename} has no .metadata`);
      if (indexed.get(filename) !== sha256)
        faults.push(`${filename} is in the database, and not in the index`);
      if (build === null) faults.push(`${filename} belongs to no build`);
    }
    const names = new Set(listed.map(({ filename }) => filename));
    for (const wheel of wheels.filter((each) => !names.has(each)))
      faults.push(`${wheel} is on the disk, and not in the database`);
    for (const wheel of [...indexed.keys()].filter((each) => !names.has(each)))
      faults.push(`${wheel} is in the index, and not in the database`);
    for (const entry of onDisk.filter((each) => each.startsWith('.tmp-'))) faults.push(`${entry} is left`);
    return faults;
  }

  /** Waits until a package's page of the simple index is written; others follow. Throws after two minutes. */
  async pagesWritten(name: string): Promise<void> {
    await until(async () => {
      const rows = await this.#retry<{ readonly due: number }>(
        `select count(*)::int as due from pages_backlog where argument = $1 and kind in ('PKG', 'DELPKG')`,
        name,
      );
      return rows[0]?.due === 0;
    }, 120_000);
  }

  async #retry<R extends Readonly<Record<string, unknown>> = FileRow>(
    sql: string,
    ...values: readonly unknown[]
  ): Promise<readonly R[]> {
    let rows: readonly R[] = [];
    await until(
      () =>
        this.#db.query<R>(sql, values).then(
          (answer) => {
            rows = answer;
            return true;
          },
          () => false,
        ),
      60_000,
    );
    return rows;
  }

  #indexedFiles(folder: string): ReadonlyMap<string, string> {
    const page = join(folder, 'index.v1_json');
    if (!existsSync(page)) return new Map();
    const { files } = JSON.parse(readFileSync(page, 'utf8')) as {
      readonly files: readonly { readonly filename: string; readonly hashes: { readonly sha256: string } }[];
    };
    return new Map(files.map(({ filename, hashes }) => [filename, hashes.sha256]));
  }

  async #digest(name: string, filename: string): Promise<string | undefined> {
    const path = join(this.#outputPath, 'simple', name, filename);
    return (await hashFile(path).catch(() => undefined))?.sha256;
  }
}

import { mkdirSync, mkdtempSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { PiwError } from '../../src/errors.js';
import { SimpleIndexWriter } from '../../src/site/simple/index-writer.js';
import { Site } from '../../src/site/site.js';
import { NO_DETAILS } from '../../src/model/build-details.js';
import { sampleProject } from '../helpers/output-path.js';
import { fillDisk, onSmallDisk } from '../helpers/small-disk.js';
import { emptyFront, emptyStatistics } from './sample-site.js';

const NAME_COUNT = 2000;

async function* singlePage<T>(page: readonly T[]): AsyncGenerator<readonly T[]> {
  yield await Promise.resolve(page);
}

/** Returns a function for each method that writes to the output path. Each call writes new content. */
function writers(output: string): Readonly<Record<string, () => unknown>> {
  const site = new Site({ outputPath: output, publicUrl: 'https://farm.example/' });
  const index = new SimpleIndexWriter(output);
  const names = Array.from({ length: NAME_COUNT }, (_, n) => `package-${n}-${Math.random()}`);
  const file = {
    filename: 'demo-1.0-py3-none-any.whl',
    version: '1.0',
    filesize: 1,
    sha256: 'a'.repeat(64),
    metadata_sha256: 'b'.repeat(64),
    requires_python: null,
    yanked: null,
    uploaded: Date.now(),
  };
  const project = { ...sampleProject('demo', 'active', [file], 1), description: names.join(' ') };
  return {
    setUp: () => {
      index.setUp();
      site.setUp();
    },
    writeHome: () => {
      site.writeHome({ ...emptyStatistics, packages: Math.floor(Math.random() * 1e9) }, emptyFront);
    },
    writeProject: () => {
      site.writeProject(project, Date.now());
    },
    write: () => index.write({ name: 'demo', status: 'active', versions: [], files: [file] }, Date.now()),
    writeRoot: () =>
      index.writeRoot(singlePage(names.map((name): [string, number] => [name, 1])), Date.now()),
    writeSearch: () => site.writeSearch(singlePage(names.map((name) => [name, name, 1, 1] as const))),
    writeSitemap: () => site.writeSitemap(singlePage(names.map((name) => [name, name, 1, 1] as const))),
    writeLog: () =>
      site.writeLog({
        build_id: 1_000_001,
        package: 'demo',
        version: '1.0',
        abi: 'cp311',
        platform: 'linux_x86_64',
        status: true,
        failure_class: null,
        built: 0,
        duration_s: 1,
        output: names.join('\n'),
        details: NO_DETAILS,
        slave: null,
      }),
    pack: () => {
      const folder = join(output, 'project', 'packed');
      mkdirSync(folder, { recursive: true });
      return site.compressPages('packed');
    },
  };
}

/** Returns the paths of all temporary files in the output path. */
const temporaryFiles = (output: string): readonly string[] =>
  readdirSync(output, { recursive: true, encoding: 'utf8' }).filter((path) => /(^|\/)\.tmp-/.test(path));

async function tests(disk: string): Promise<void> {
  await t.test(
    'writing a site to a full disk throws PIW_DISK_FULL and leaves no temporary files',
    async (t: Test) => {
      const output = mkdtempSync(join(disk, 'www-'));
      const page = join(output, 'project', 'packed', 'index.html');
      mkdirSync(join(output, 'project', 'packed'), { recursive: true });
      writeFileSync(page, Array.from({ length: 50_000 }, (_, n) => String(n * 7919)).join(' '));
      const freeSpace = fillDisk(disk);
      t.teardown(freeSpace);
      for (const [name, write] of Object.entries(writers(output))) {
        try {
          await write();
          t.fail(`${name} did not fail`);
        } catch (error) {
          t.ok(error instanceof PiwError, `${name}: ${String(error)}`);
          t.match(error, { code: 'PIW_DISK_FULL' }, name);
        }
        t.same(temporaryFiles(output), [], `${name} leaves nothing behind`);
      }
      freeSpace();
      for (const [name, write] of Object.entries(writers(output)))
        await t.resolves(Promise.resolve().then(write), `${name}, with free space`);
      t.ok(statSync(`${page}.gz`).size > 0);
    },
  );
}

await onSmallDisk(import.meta.url, 32, tests);

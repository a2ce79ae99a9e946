/** The real bandersnatch, with the configuration that the site's FAQ shows. */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import type { IndexedFile } from '../../src/model/project.js';
import { bandersnatchConfig } from '../../src/site/pages/bandersnatch.js';
import { SimpleIndexWriter } from '../../src/site/simple/index-writer.js';
import { orSkipReason } from '../helpers/missing.js';
import { sha256 } from '../helpers/wheel.js';
import { WEB_SERVER_KINDS, serve, type RunningWebServer } from '../helpers/web-servers.js';
import { APP_INSTALLED } from './expected.js';
import { findBandersnatch, findInstaller, type PythonProgram } from './installers.js';
import { startPythonServer } from './python-server.js';
import { InstallerSession } from './session.js';
import { oneBatch, makeShelf, publish, type Shelf } from './shelf.js';

t.setTimeout(340_000);
const run = promisify(execFile);

/** Runs bandersnatch on a folder with the site as its master, and returns its log. */
async function runBandersnatch(
  { command: [program, ...prefixArgs], env }: PythonProgram,
  server: RunningWebServer,
  folder: string,
  args: readonly string[],
): Promise<string> {
  const conf = join(folder, 'bandersnatch.conf');
  const text = bandersnatchConfig(`${server.url}/`).replace('/srv/pypi', folder);
  writeFileSync(conf, text);
  const { ca } = server;
  const { stderr } = await run(program, [...prefixArgs, '-c', conf, ...args], {
    cwd: folder,
    timeout: 60_000,
    env: {
      PATH: process.env['PATH'],
      HOME: folder,
      ...env,
      ...(ca === undefined ? {} : { SSL_CERT_FILE: ca }),
    },
  });
  return stderr;
}

/** Returns the names of a project's files in a mirror. */
const mirroredFiles = (folder: string, name: string): readonly string[] => {
  const files = join(folder, 'web/packages', name);
  return existsSync(files) ? readdirSync(files).sort() : [];
};

/** Removes a release and a package, and publishes another release. */
async function changeShelf(shelf: Shelf, publicUrl: string): Promise<void> {
  const index = new SimpleIndexWriter(shelf.output, publicUrl);
  const simple = join(shelf.output, 'simple');
  const names = [...shelf.files.keys()].sort();
  const serials = new Map(names.map((name, n): [string, number] => [name, n + 1]));
  let serial = names.length;
  const write = (name: string, files: readonly IndexedFile[]): void => {
    serial += 1;
    const versions = [...new Set(files.map(({ version }) => version))];
    serials.set(name, index.write({ name, status: 'active', versions, files }, serial));
  };
  const demo = shelf.files.get('shelf-demo') ?? [];
  write(
    'shelf-demo',
    demo.filter(({ version }) => version !== '2.0'),
  );
  rmSync(join(simple, 'shelf-demo/shelf_demo-2.0-py3-none-any.whl'));
  const lib = await publish(join(simple, 'shelf-lib'), 'Shelf.Lib', { version: '1.4', day: '2024-06-01' });
  write('shelf-lib', [...(shelf.files.get('shelf-lib') ?? []), lib]);
  write('shelf-gone', []);
  serials.delete('shelf-gone');
  await index.writeRoot(oneBatch([...serials]), serial);
  index.remove('shelf-gone', serial);
}

const program = await orSkipReason(findBandersnatch);
const pip = await orSkipReason(() => findInstaller('pip newest'));

// Started before the first test is declared: a file whose tests have all ended takes no further ones.
const stages: { kind: (typeof WEB_SERVER_KINDS)[number]; shelf: Shelf; server: RunningWebServer | string }[] =
  [];
for (const kind of WEB_SERVER_KINDS) {
  const shelf = await makeShelf();
  stages.push({ kind, shelf, server: await orSkipReason(() => serve(kind, shelf.output)) });
}

for (const { kind, shelf, server } of stages) {
  const title = `bandersnatch mirrors a site that ${kind} serves, then its changes, and pip installs from the mirror`;
  if (typeof program === 'string' || typeof pip === 'string' || typeof server === 'string') {
    const missing = [program, pip, server].filter((reason) => typeof reason === 'string').join('; ');
    void t.test(title, { skip: missing }, () => undefined);
    continue;
  }
  t.teardown(() => server.stop());
  void t.test(title, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'piw-mirror-'));
    t.teardown(() => {
      rmSync(folder, { recursive: true, force: true });
    });
    const requestedProjects = async (): Promise<readonly string[]> =>
      (await server.accessLog()).flatMap(({ path }) => /^\/pypi\/(.+)\/json$/.exec(path)?.[1] ?? []);

    const bandersnatch = (...args: string[]) => runBandersnatch(program, server, folder, args);
    const first = await bandersnatch('mirror');
    t.notMatch(first, /ERROR|Traceback/, first);
    t.same([...(await requestedProjects())].sort(), [...shelf.files.keys()].sort());
    for (const [name, files] of shelf.files) {
      t.same(mirroredFiles(folder, name), files.map(({ filename }) => filename).sort(), name);
      for (const { filename, sha256: digest } of files)
        t.equal(sha256(readFileSync(join(folder, 'web/packages', name, filename))), digest, filename);
    }

    const requestsBefore = (await requestedProjects()).length;
    await changeShelf(shelf, `${server.url}/`);
    const second = await bandersnatch('mirror');
    t.notMatch(second, /ERROR|Traceback/, second);
    t.same(
      (await requestedProjects()).slice(requestsBefore).sort(),
      ['shelf-demo', 'shelf-lib'],
      'only changed projects',
    );
    t.ok(mirroredFiles(folder, 'shelf-lib').includes('Shelf.Lib-1.4-py3-none-any.whl'), 'the new release');
    const page = readFileSync(join(folder, 'web/simple/shelf-demo/index.html'), 'utf8');
    t.notMatch(page, 'shelf_demo-2.0', 'the removed release');
    if (server.ca !== undefined) {
      // bandersnatch accepts only https for `delete`.
      await bandersnatch('delete', 'shelf-gone');
      t.same(mirroredFiles(folder, 'shelf-gone'), [], 'the removed package is deleted as the page advises');
      t.notOk(existsSync(join(folder, 'web/simple/shelf-gone')));
    }

    const third = await bandersnatch('mirror');
    t.match(third, '0 packages to sync', 'nothing has changed since');

    const mirrorServer = await startPythonServer(pip.python, join(folder, 'web'));
    t.teardown(() => mirrorServer.stop());
    const session = await InstallerSession.open(pip, mirrorServer, shelf);
    await session.runOrThrow('install', '--index-url', session.index, 'shelf-app');
    t.same(await session.installed(), { ...APP_INSTALLED, 'shelf-lib': '1.4' });
    session.close();
  });
}

import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { confine } from '../../src/builder/sandbox.js';
import { parseAddress } from '../../src/bus/address.js';
import { generateUserKey } from '../../src/bus/nkey.js';
import type { RawSettings } from '../../src/config.js';
import { formatConfig } from '../../src/settings/config-file.js';
import { addReleases } from '../../src/database/versions.js';
import { until } from '../helpers/bus.js';
import { piwRunner } from '../helpers/command.js';
import { someRelease, insertTarget } from '../helpers/rows.js';
import { packFixture } from '../helpers/sdist.js';
import { IndexServer } from '../builder/index-server.js';
import { interpreter, temporaryFolder } from '../builder/workshop.js';
import { startHostileFarm } from './stage.js';

t.setTimeout(200_000);

const BIN = fileURLToPath(new URL('../../run/bin.js', import.meta.url));
const ROOT = fileURLToPath(new URL('../../..', import.meta.url)).replace(/\/$/, '');

/** Prepares a slave: its configuration, its key in a file next to it, and a function that runs it. */
function prepareSlave(address: string, user: string, overrides: RawSettings = {}) {
  const home = mkdtempSync(join(tmpdir(), 'piw-robbed-'));
  const { servers, seed = '' } = parseAddress(address);
  const key = join(home, 'pi.nk');
  const conf = join(home, 'piwheels.conf');
  writeFileSync(key, `${seed}\n`, { mode: 0o600 });
  const master = `nats://${servers.join(',')}`;
  const work = mkdtempSync(join(tmpdir(), 'piw-robbed-work-'));
  const settings = { master, 'slave-user': user, 'slave-key': key, 'work-dir': work, ...overrides };
  writeFileSync(conf, formatConfig(settings), { mode: 0o600 });
  const run = (...args: readonly string[]) =>
    new Promise<{ code: number; err: string }>((resolve) => {
      const child = execFile(
        process.execPath,
        [BIN, 'slave', '-c', conf, '--allow-root', '--once', '-v', ...args],
        {
          env: {
            ...process.env,
            PIW_FARM_BUILD_ENV: JSON.stringify({
              PIP_RETRIES: '0',
              PIW_TEST_SLAVE: `at:${home},${ROOT},${seed.slice(2)}`,
            }),
          },
        },
        (error, _, err) => {
          resolve({ code: error === null ? 0 : (child.exitCode ?? -1), err });
        },
      );
    });
  return { home, conf, key, seed, run };
}

void t.test('a build that tries to reach its slave’s key and code gets neither', async (t) => {
  const index = await IndexServer.start([packFixture('robs')]);
  t.teardown(() => index.stop());
  const farm = await startHostileFarm(t, 1, { settings: { 'index-url': index.url } });
  const { abiTag: abi, platformTag: platform } = interpreter;
  await insertTarget(farm.db, abi, { platform });
  await addReleases(farm.db, 'piw-fixture-robs', 'feed', [someRelease('1.0', { priority: 2 })]);
  const { conf, key, run } = prepareSlave(farm.addresses.victim, 'victim');
  const before = [BIN, join(ROOT, 'package.json'), conf, key].map((path) => readFileSync(path, 'utf8'));
  const unchanged = () =>
    t.same(
      [BIN, join(ROOT, 'package.json'), conf, key].map((path) => readFileSync(path, 'utf8')),
      before,
    );

  const unsandboxed = await run('--sandbox', 'none');
  t.equal(unsandboxed.code, 2, 'the slave does not start without a sandbox');
  t.match(unsandboxed.err, /builds on this machine could read .*(?:piwheels.conf|pi.nk)/);
  t.same(await farm.db.query('select from builds'), []);

  const work = temporaryFolder(t);
  const sandbox = await confine({
    mode: 'auto',
    network: 'on',
    interpreter,
    env: {},
    masked: [],
    workDir: work,
  });
  if (sandbox.notice !== undefined) {
    t.match(
      await run(),
      { code: 2, err: /builds on this machine could/ },
      'it does not start where no sandbox is available',
    );
    return;
  }
  const result = await run('--sandbox', 'required');
  t.equal(result.code, 0, result.err);
  const [row] = await farm.db.query<{ status: boolean; output: string }>(
    `select b.status, b.output from builds b join versions using (version_id) join packages using (package_id)
     where package = 'piw-fixture-robs'`,
  );
  t.ok(row?.status, `${result.err}\n${row?.output ?? ''}`);
  t.match(row?.output ?? '', /the key is in \[\]/);
  t.match(row?.output ?? '', /slaves seen: 0/);
  t.notOk(existsSync(join(ROOT, 'dist', 'robbed.js')));
  unchanged();
  t.ok(existsSync(join(farm.output, 'simple/piw-fixture-robs')), 'its wheel is published nevertheless');
});

void t.test('a slave that is removed while it waits exits, and says why', async (t) => {
  const farm = await startHostileFarm(t, 0);
  const { run } = prepareSlave(farm.addresses.victim, 'victim');
  const running = run('--allow-exposed');
  await until(() => /slave connected slave=\d+/.test(farm.newLogs()), 60_000);
  const piw = piwRunner({ 'nats-users': farm.usersFile, 'nats-pid': [farm.pidFile] });
  t.match(await piw('slaves', 'remove', 'victim'), { code: 0 });
  const { code, err } = await running;
  t.equal(code, 5, err);
  t.match(err, /no longer accept this slave/);
});

void t.test('a slave with an unknown key is told that its credentials are refused', async (t) => {
  const farm = await startHostileFarm(t, 0);
  const { run } = prepareSlave(
    farm.addresses.victim.replace(/SU[A-Z2-7]+/, generateUserKey().seed),
    'victim',
  );
  const result = await run('--allow-exposed');
  t.equal(result.code, 5);
  t.match(result.err, /it refuses these credentials/);
});

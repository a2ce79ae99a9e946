import { mkdtemp, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Actor } from '../../src/actor/actor.js';
import { ProtocolClient } from '../../src/actor/client.js';
import { OWN_VERSION } from '../../src/actor/identity.js';
import { farmIdentity } from '../../src/protocols/farm.js';
import { oracle } from '../../src/protocols/oracle.js';
import type { Bus } from '../../src/bus/bus.js';
import { actorContext } from '../helpers/actor-context.js';
import { startFarmNats } from '../helpers/nats.js';
import { natsAddress, uniquePrefix, testBus, until } from '../helpers/bus.js';
import { piwRunner, runTask } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';
import { testMaster } from '../helpers/master.js';
import { ScriptedSession } from '../helpers/session.js';
import { makeWheel } from '../helpers/wheel.js';
import { PROTOCOL_VERSION } from '../../src/version.js';

t.setTimeout(120_000);

const MASTER_COMMAND = ['master', '--allow-root', '--allow-superuser'] as const;

/** Returns an output path for masters, which check that they can write to it before they are refused. */
const someFolder = (): Promise<string> => mkdtemp(join(tmpdir(), 'piw-identity-'));

async function oracleOf(t: Test, dsn: string, nats: string, prefix: string) {
  const settings = { dsn, nats, prefix };
  const task = runTask(t, 'the-oracle', settings);
  const bus = await testBus(t, prefix, { address: nats });
  await new ProtocolClient(bus, oracle, undefined, { timeoutMs: 2000, patienceMs: 20_000 }).request(
    'GETABIS',
    {},
  );
  return { settings, task, bus };
}

void t.test('a second database on one prefix is refused with a message that names both', async (t) => {
  const [first, second] = [await testDatabase(t), await testDatabase(t)];
  const { settings, bus } = await oracleOf(t, first.dsn, natsAddress(), uniquePrefix());
  const [a] = await first.db.query<{ id: string }>('select id::text from installation');
  const [b] = await second.db.query<{ id: string }>('select id::text from installation');
  const piw = piwRunner({ ...settings, dsn: second.dsn, 'output-path': await someFolder() });
  for (const command of [MASTER_COMMAND, ['actor', 'the-oracle'], ['actor', 'the-architect']]) {
    const { code, err } = await piw(...command);
    t.equal(code, 4, command.join(' '));
    t.match(err, `installation ${String(a?.id.slice(0, 8))}`);
    t.match(err, `installation ${String(b?.id.slice(0, 8))}`);
  }
  t.same(await second.db.query('select holder from installation'), [{ holder: null }], 'it was not touched');
  t.match(await new ProtocolClient(bus, farmIdentity).request('WHO', { version: OWN_VERSION }), {
    installation: a?.id,
  });
});

void t.test('a second farm on one database is refused until the first is gone', async (t) => {
  const { db, dsn } = await testDatabase(t);
  const prefix = uniquePrefix();
  const { task } = await oracleOf(t, dsn, natsAddress(), prefix);
  const other = await startFarmNats(t, []);
  const piw = piwRunner({ dsn, nats: other.master, prefix, 'output-path': await someFolder() });
  const before = await db.query('select holder, holder_since from installation');
  const { code, err } = await piw(...MASTER_COMMAND);
  t.equal(code, 4);
  const [row] = await db.query<{ holder: string }>('select holder from installation');
  t.match(err, `over NATS ${String(row?.holder)}`);
  t.match(err, /\/\d+ is connected to \w+\/t\w+, where that farm does not answer/);
  t.same(
    await db.query('select holder, holder_since from installation'),
    before,
    'the first farm keeps the database',
  );
  await task.stop();
  const secondFarm = await oracleOf(t, dsn, other.master, prefix);
  t.not((await db.query<{ holder: string }>('select holder from installation'))[0]?.holder, row?.holder);
  await secondFarm.task.stop();
});

void t.test('the file of a result that the database does not know is kept', async (t) => {
  const { db, bus, folder, logLines } = await testMaster(t, { versions: ['1.0'] });
  const path = await makeWheel(await someFolder(), {});
  const session = new ScriptedSession(bus, 's', path);
  await session.request('HELLO');
  t.equal(await session.request('IDLE'), 'BUILD');
  t.equal(await session.request('BUILT'), 'SEND');
  await session.send();
  // The database now looks like another farm's.
  await db.query('delete from versions');
  t.equal(await session.request('SENT'), 'DONE');
  t.same(
    (await readdir(folder)).filter((name) => name.endsWith('.whl')),
    ['demo-1.0-py3-none-any.whl'],
  );
  t.match(
    logLines.join('\n'),
    /files of a lost build are kept: the database does not know the version package=demo version=1\.0/,
  );
});

/** A farm of another version, as seen by a process that joins it. */
class OtherVersion extends Actor {
  override start(): void {
    this.serve(
      farmIdentity,
      {
        WHO: ({ version }) => ({
          verb: 'BYE',
          reason: `this farm is piw 9.9 with protocol 99, not ${version}`,
        }),
      },
      { queue: null },
    );
  }
}

const actorOn = (t: Test, bus: Bus): OtherVersion => new OtherVersion(actorContext(t, bus, 'other'));

void t.test('an actor of another protocol is refused with the required version', async (t) => {
  const prefix = uniquePrefix();
  const bus = await testBus(t, prefix);
  const other = actorOn(t, bus);
  other.start();
  t.teardown(() => other.stop());
  const { code, err } = await piwRunner({ nats: natsAddress(), prefix })('actor', 'the-scribe');
  t.equal(code, 6);
  t.match(err, 'this farm is piw 9.9 with protocol 99');
});

void t.test('an Oracle refuses a process of another protocol', async (t) => {
  const { dsn } = await testDatabase(t);
  const { bus } = await oracleOf(t, dsn, natsAddress(), uniquePrefix());
  const client = new ProtocolClient(bus, farmIdentity);
  t.match(await client.request('WHO', { version: '0.0.9/1' }), {
    verb: 'BYE',
    reason: new RegExp(`with protocol ${PROTOCOL_VERSION}; install the same version here`),
  });
});

void t.test('an actor that waits for a master exits when one of another protocol appears', async (t) => {
  const prefix = uniquePrefix();
  const piw = piwRunner({ nats: natsAddress(), prefix });
  const waiting = piw('actor', 'the-secretary');
  const bus = await testBus(t, prefix);
  let ended = false;
  void waiting.then(() => (ended = true));
  const identity = { installation: 'x', name: 'x', holder: 'x', host: 'x', since: 1, version: '9.9/99' };
  await until(async () => {
    await new ProtocolClient(bus, farmIdentity).publish('HERE', identity);
    return ended;
  }, 40_000);
  const { code, err } = await waiting;
  t.equal(code, 6);
  t.match(err, /the farm is of version 9\.9\/99/);
});

import { DAY_MS, HOUR_MS } from '../../../src/units.js';
import t from 'tap';
import { SlaveSessions } from '../../../actors/slave-driver/slave-sessions.js';
import { SlaveState } from '../../../actors/slave-driver/slave-state.js';

const HELLO = {
  version: '0/1',
  build_timeout_s: 100,
  busy_interval_s: 30,
  clock: 0,
  py_version_tag: 'cp311',
  abi_tag: 'cp311',
  platform_tag: 'linux_x86_64',
  label: 'anvil',
  os_name: 'x',
  os_version: 'x',
  board: null,
  lacks: [],
};
const makeSlave = (session: string, now: number): SlaveState =>
  new SlaveState(1, 'pi', session, HELLO, true, now);

t.test('a user may begin a thousand sessions at once, and then one per second', (t) => {
  const sessions = new SlaveSessions();
  const admit = (session: number, now: number): void => {
    sessions.admit({ user: 'pi', session: String(session) }, now);
  };
  for (let session = 0; session < 1000; session += 1) admit(session, DAY_MS);
  t.throws(
    () => {
      admit(1000, DAY_MS);
    },
    { code: 'PIW_REFUSED' },
  );
  admit(1000, DAY_MS + 1000);
  t.throws(
    () => {
      admit(1001, DAY_MS + 1000);
    },
    { code: 'PIW_REFUSED' },
  );
  sessions.admit({ user: 'another', session: '0' }, DAY_MS + 1000);
  t.end();
});

t.test('a slave with environment failures rests, longer each time, and the reason says until when', (t) => {
  const slave = makeSlave('a', DAY_MS);
  t.strictSame([slave.recordEnvironmentFailure(DAY_MS), slave.recordEnvironmentFailure(DAY_MS)], [0, 0]);
  t.equal(slave.recordEnvironmentFailure(DAY_MS), 60_000);
  const wallTime = (monotonicMs: number): number => monotonicMs + 2 * HOUR_MS;
  t.match(slave.idleReason(DAY_MS, wallTime), /^3 builds in a row failed .*; next build at 02:01 UTC$/);
  t.equal(slave.idleReason(DAY_MS + 60_000, wallTime), undefined);
  t.equal(slave.recordEnvironmentFailure(DAY_MS), 120_000);
  slave.clearEnvironmentFailures();
  t.equal(slave.recordEnvironmentFailure(DAY_MS), 0);
  t.end();
});

t.test('the session of a slave that was silent for an hour expires', (t) => {
  const sessions = new SlaveSessions();
  sessions.add(makeSlave('a', DAY_MS));
  sessions.add(makeSlave('b', DAY_MS + 1));
  sessions.expire(DAY_MS + HOUR_MS + 1);
  t.strictSame(
    [...sessions].map(({ session }) => session),
    ['b'],
  );
  t.throws(() => sessions.getOrThrow({ user: 'pi', session: 'a' }), { code: 'PIW_UNKNOWN_SLAVE' });
  t.end();
});

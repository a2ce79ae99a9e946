import t from 'tap';
import { FollowedBuilds } from '../../../actors/slave-driver/followed-builds.js';
import { SlaveSessions } from '../../../actors/slave-driver/slave-sessions.js';
import { SlaveState } from '../../../actors/slave-driver/slave-state.js';
import { wake } from '../../../src/protocols/slave-driver.js';
import { testBus, uniquePrefix, until } from '../../helpers/bus.js';
import { ManualClock } from '../../helpers/manual-clock.js';
import { slaveHello } from '../../helpers/master.js';

const LEASE = 7;
const KEY = { user: 'pi4', session: 's' };

void t.test('the output of a build passes through while somebody follows it', async (t) => {
  const clock = new ManualClock();
  const bus = await testBus(t, uniquePrefix());
  const follows: unknown[] = [];
  const subscription = bus.subscribe(bus.subject(wake.name, KEY.user, KEY.session, 'FOLLOW'));
  t.teardown(() => subscription.stop());
  void (async () => {
    for await (const message of subscription) follows.push(wake.unpack(await message.body()));
  })();
  const slaves = new SlaveSessions();
  const slave = new SlaveState(3, KEY.user, KEY.session, { ...slaveHello(), clock: 0 }, true, 0);
  slaves.add(slave);
  const followed = new FollowedBuilds({ bus, clock, slaves });
  const output = (first: number, lines: readonly string[], key = KEY, lease = LEASE) => {
    clock.advance(500);
    return followed.receive(key, { lease, first, lines: [...lines] }).verb;
  };
  const follow = (from: number, lease: number | null = LEASE) =>
    followed.follow({ slave_id: 3, lease, from });

  t.same(await follow(0, null), { verb: 'NONE' }, 'it has no build');
  await t.rejects(followed.follow({ slave_id: 4, lease: null, from: 0 }), { code: 'PIW_UNKNOWN_SLAVE' });
  slave.hold({ lease: LEASE, package: 'demo', version: '1.0', abi: 'cp311', platform: 'x' }, 0);
  t.equal(output(0, ['unasked']), 'DONE', 'nobody follows it');
  t.same(await follow(0, null), { verb: 'OUTPUT', lease: LEASE, first: 0, lines: [] });
  t.same(await follow(0, LEASE + 1), { verb: 'NONE' });
  t.equal(output(0, ['forged'], { ...KEY, user: 'mallory' }), 'DONE', 'another slave');
  t.equal(output(0, ['forged'], KEY, LEASE + 1), 'DONE', 'another build');

  t.equal(output(0, ['a', 'b']), 'CONT');
  t.equal(output(1, ['b', 'c']), 'CONT');
  t.match(await follow(0), { first: 0, lines: ['a', 'b', 'c'] }, 'each line once');
  t.match(await follow(2), { first: 2, lines: ['c'] });
  t.equal(followed.receive(KEY, { lease: LEASE, first: 3, lines: ['flood'] }).verb, 'CONT');
  t.match(await follow(3), { first: 3, lines: [] }, 'what comes too fast is dropped');
  t.equal(output(10, ['k']), 'CONT');
  t.match(await follow(3), { first: 10, lines: ['k'] }, 'lines that the slave no longer has are missing');

  await until(() => follows.length > 0);
  const before = follows.length;
  clock.advance(5000);
  await follow(11);
  await follow(11);
  await until(() => follows.length > before);
  t.same(follows.slice(before), [{ verb: 'FOLLOW', lease: LEASE, from: 11, seconds: 15 }]);

  const thousand = Array.from({ length: 1000 }, () => 'x'.repeat(100));
  for (let i = 0; i < 10; i += 1) output(11 + i * 1000, thousand);
  const { first, lines } = (await follow(0)) as { first: number; lines: readonly string[] };
  t.ok(first > 7000, 'only the newest lines are kept');
  t.ok(lines.length < 700, 'an answer has a limit');
  clock.advance(15_001);
  t.equal(output(2000, ['late']), 'DONE', 'nobody follows it any longer');
  followed.expire();
  t.match(await follow(0), { first: 0, lines: [] }, 'it was forgotten');
});

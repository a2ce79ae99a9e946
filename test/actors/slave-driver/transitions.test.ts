import t from 'tap';
import { assertTransition } from '../../../actors/slave-driver/transitions.js';
import { SlaveState } from '../../../actors/slave-driver/slave-state.js';
import { slaveHello } from '../../helpers/master.js';

const LEASE = { lease: 7, package: 'demo', version: '1.0', abi: 'cp311', platform: 'linux_x86_64' };
const makeSlave = (): SlaveState => new SlaveState(1, 'slave', 'one', { ...slaveHello(), clock: 0 }, true, 0);

t.test('an answer has to fit what the slave is doing afterwards', (t) => {
  const slave = makeSlave();
  t.doesNotThrow(() => {
    assertTransition('BUSY', 'DONE', 'building', slave);
  });
  t.throws(
    () => {
      assertTransition('IDLE', 'BUILD', 'idle', slave);
    },
    { message: 'IDLE was answered with BUILD, and its slave went from idle to idle without a lease' },
  );
  slave.hold(LEASE, 0);
  t.doesNotThrow(() => {
    assertTransition('IDLE', 'BUILD', 'idle', slave);
  });
  t.doesNotThrow(() => {
    assertTransition('BUSY', 'DONE', 'building', slave);
  }, 'BUSY was about another lease');
  t.throws(() => {
    assertTransition('SENT', 'DONE', 'building', slave);
  });
  t.throws(() => {
    assertTransition('IDLE', 'CONT', 'building', slave);
  }, 'CONT does not answer IDLE');
  t.end();
});

t.test('a slave is idle once it has no lease', (t) => {
  const slave = makeSlave();
  slave.hold(LEASE, 5);
  t.match(slave, { activity: 'building', lease: LEASE, since: 5 });
  slave.clearBuild(9);
  t.match(slave, { activity: 'idle', lease: undefined, since: 9 });
  slave.clearBuild(12);
  t.equal(slave.since, 9, 'nothing has changed');
  t.end();
});

import t from 'tap';
import { slaveDriver } from '../../src/protocols/slave-driver.js';

void t.test('a message is an array of its verb and all of its fields, in order', (t) => {
  const stats = [1, 1, 1, 1, 0.5, null] as [number, number, number, number, number, null];
  t.same(slaveDriver.pack('BUSY', { lease: 7, stats }), ['BUSY', 7, stats]);
  t.same(slaveDriver.unpack(['BUSY', 7, stats]), { verb: 'BUSY', lease: 7, stats });
  t.same(slaveDriver.packAnswer('BUSY', { verb: 'CONT' }), ['CONT']);
  t.end();
});

void t.test('anything that does not match the protocol is refused', (t) => {
  const stats = [1, 1, 1, 1, 0.5, null];
  const bad: unknown[] = [
    null,
    7,
    'BUSY',
    {},
    [],
    [7],
    ['NOBODY'],
    ['BUSY'],
    ['BUSY', 7],
    ['BUSY', 7, stats, 'more'],
    ['BUSY', '7', stats],
    ['BUSY', -1, stats],
    ['BUSY', 1.5, stats],
    ['BUSY', NaN, stats],
    ['SENT', 7, '../../etc/passwd'],
    ['SENT', 7, 'a\u0000b'],
    ['__proto__'],
    ['constructor'],
  ];
  for (const message of bad)
    t.throws(() => slaveDriver.unpack(message), { code: 'PIW_MESSAGE_INVALID' }, JSON.stringify(message));
  t.end();
});

void t.test('an ERROR answer throws the error with its code, or PIW_REFUSED for an unknown code', (t) => {
  t.throws(() => slaveDriver.unpackAnswer('IDLE', ['ERROR', 'PIW_UNKNOWN_SLAVE', 'who?']), {
    code: 'PIW_UNKNOWN_SLAVE',
  });
  t.throws(() => slaveDriver.unpackAnswer('IDLE', ['ERROR', 'E_OTHER', 'x']), { code: 'PIW_REFUSED' });
  t.throws(() => slaveDriver.unpackAnswer('IDLE', ['CONT']), { code: 'PIW_MESSAGE_INVALID' });
  t.end();
});

import { createHash, randomBytes } from 'node:crypto';
import t from 'tap';
import { encode } from '../../src/bus/codec.js';
import { NO_DETAILS } from '../../src/model/build-details.js';
import { until } from '../helpers/bus.js';
import { RawNats } from '../helpers/raw-nats.js';
import { STATS, startHostileFarm } from './stage.js';

t.setTimeout(280_000);

const bytes = (...parts: readonly (number | string | Buffer)[]): Buffer =>
  Buffer.concat(parts.map((part) => (typeof part === 'number' ? Buffer.from([part]) : Buffer.from(part))));
const idle = (...fields: readonly unknown[]) => encode(['IDLE', ...fields]);
const hello = (...fields: readonly unknown[]) =>
  encode([
    'HELLO',
    '0.1.0/1',
    1,
    1,
    'cp311',
    'cp311',
    'linux_x86_64',
    ...fields.slice(0, 4),
    [],
    ...fields.slice(4),
  ]);
/** ["IDLE", …, up to the last field of the statistics. */
const TRUNCATED_IDLE = Buffer.from(idle([1, 1, 1, 1, 0, null])).subarray(0, -1);

/**
 * Malformed messages: a name, the verb of the subject that it is sent to, the bytes, and why it is refused.
 */
const MALFORMED: readonly (readonly [string, string, Uint8Array, RegExp])[] = [
  ['nothing', 'IDLE', bytes(), /cut off/],
  ['half of a message', 'IDLE', idle(STATS).subarray(0, 9), /announces more|cut off/],
  ['a message without its last byte', 'IDLE', TRUNCATED_IDLE, /cut off|announces more/],
  [
    'two messages',
    'IDLE',
    bytes(Buffer.from(idle(STATS)), Buffer.from(idle(STATS))),
    /bytes follow the value/,
  ],
  ['a message and a byte', 'IDLE', bytes(Buffer.from(idle(STATS)), 0), /1 byte follows the value/],
  ['a list of 4 billion', 'IDLE', bytes(0xdd, 0xff, 0xff, 0xff, 0xff), /announces more/],
  [
    'a list of as many as fit in a decoder’s memory',
    'IDLE',
    bytes(0xdd, 0, 0xff, 0xff, 0xff),
    /announces more/,
  ],
  ['a list of 65,535', 'IDLE', bytes(0xdc, 0xff, 0xff, 0xc0), /announces more/],
  ['a map of 4 billion', 'IDLE', bytes(0xdf, 0xff, 0xff, 0xff, 0xff), /announces more/],
  ['a text of 4 GB', 'IDLE', bytes(0xdb, 0xff, 0xff, 0xff, 0xff, 'x'), /cut off/],
  ['bytes of 4 GB', 'IDLE', bytes(0xc6, 0xff, 0xff, 0xff, 0xff, 'x'), /cut off/],
  ['a type that does not exist', 'IDLE', bytes(0xc1), /type 0xc1/],
  ['an extension', 'IDLE', bytes(0x92, 0xa4, 'IDLE', 0xd4, 5, 1), /type 0xd4/],
  ['an extension of 4 GB', 'IDLE', bytes(0xc9, 0xff, 0xff, 0xff, 0xff, 1), /type 0xc9/],
  ['a time', 'IDLE', bytes(0x92, 0xa4, 'IDLE', 0xd6, 0xff, 0, 0, 0, 0), /type 0xd6/],
  [
    'a million lists within each other',
    'IDLE',
    Buffer.alloc(1_000_000, 0x91),
    /nested more than 16 levels deep/,
  ],
  [
    'maps within each other',
    'IDLE',
    bytes(Buffer.alloc(500, Buffer.from([0x81, 0xa0])), 0xc0),
    /nested more than 16 levels deep/,
  ],
  [
    'more values than any slave sends',
    'IDLE',
    bytes(0xdd, 0, 0x0f, 0x42, 0x00, Buffer.alloc(999_936, 0xc0)),
    /IDLE|begins with a verb|fields/,
  ],
  ['output that clears the screen', 'OUTPUT', encode(['OUTPUT', 1, 0, ['\u001b[2J']]), /lines must be/],
  [
    'a line of output that is too long',
    'OUTPUT',
    encode(['OUTPUT', 1, 0, ['x'.repeat(1001)]]),
    /lines must be/,
  ],
  ['too many lines of output', 'OUTPUT', encode(['OUTPUT', 1, 0, Array(1001).fill('')]), /lines must be/],
  ['nil', 'IDLE', encode(null), /begins with a verb/],
  ['a number', 'IDLE', encode(42), /begins with a verb/],
  ['a text', 'IDLE', encode('IDLE'), /begins with a verb/],
  ['a map', 'IDLE', encode({ 0: 'IDLE', length: 2 }), /begins with a verb/],
  ['a map with __proto__', 'IDLE', bytes(0x81, 0xa9, '__proto__', 0x90), /__proto__|begins with a verb/],
  ['bytes', 'IDLE', encode(Buffer.from('IDLE')), /begins with a verb/],
  ['an empty list', 'IDLE', encode([]), /begins with a verb/],
  ['a list that begins with a list', 'IDLE', encode([['IDLE'], STATS]), /begins with a verb/],
  ['a verb that does not exist', 'IDLE', encode(['SHUTDOWN', STATS]), /no such message/],
  ['a verb of a thousand letters', 'IDLE', encode(['X'.repeat(1000)]), /no such message/],
  ['a verb that every object has as a property', 'IDLE', encode(['constructor']), /no such message/],
  ['a verb on another’s subject', 'BYE', idle(STATS), /sent on the subject of BYE/],
  ['an answer as a request', 'IDLE', encode(['BUILD', 1]), /no such message/],
  ['ERROR as a request', 'IDLE', encode(['ERROR', 'PIW_INTERNAL', 'x']), /no such message/],
  ['no fields', 'IDLE', idle(), /0 fields, not 1/],
  ['a field too many', 'IDLE', idle(STATS, 1), /2 fields, not 1/],
  ['statistics that are a map', 'IDLE', idle({ a: 1 }), /stats/],
  ['statistics of seven', 'IDLE', idle([...STATS, 1]), /stats/],
  ['NaN', 'IDLE', idle([1, 1, 1, 1, NaN, null]), /stats/],
  ['infinity', 'IDLE', idle([1, 1, 1, 1, Infinity, null]), /stats/],
  ['a negative number', 'IDLE', idle([-1, 1, 1, 1, 0, null]), /stats/],
  ['half a byte', 'IDLE', idle([0.5, 1, 1, 1, 0, null]), /stats/],
  ['more than can be counted', 'IDLE', idle([2 ** 60, 1, 1, 1, 0, null]), /stats/],
  [
    '64 bits',
    'IDLE',
    bytes(0x92, 0xa4, 'IDLE', 0x96, 0xcf, Buffer.alloc(8, 0xff), 1, 1, 1, 0, 0xc0),
    /stats/,
  ],
  ['a lease of zero', 'BUSY', encode(['BUSY', 0, STATS]), /lease/],
  ['a lease of minus one', 'BUSY', encode(['BUSY', -1, STATS]), /lease/],
  ['a lease and a half', 'BUSY', encode(['BUSY', 1.5, STATS]), /lease/],
  ['a lease that is a text', 'BUSY', encode(['BUSY', '1', STATS]), /lease/],
  ['a lease that is a list', 'BUSY', encode(['BUSY', [1], STATS]), /lease/],
  ['a label of 300 letters', 'HELLO', hello('x'.repeat(300), 'x', 'x', null, 1), /label/],
  ['NUL in a label', 'HELLO', hello('a\0b', 'x', 'x', null, 1), /label/],
  ['a newline in a label', 'HELLO', hello('a\nERROR master: all is lost', 'x', 'x', null, 1), /label/],
  ['a terminal escape in a label', 'HELLO', hello('\u001b[2J', 'x', 'x', null, 1), /label/],
  ['NUL in the name of a system', 'HELLO', hello('x', '\0', 'x', null, 1), /os_name/],
  ['a board that is a list', 'HELLO', hello('x', 'x', 'x', [], 1), /board/],
  ['a clock of NaN', 'HELLO', hello('x', 'x', 'x', null, NaN), /clock/],
  [
    'tags with a path',
    'HELLO',
    encode(['HELLO', '0/1', 1, 1, '../x', 'cp311', 'x', 'x', 'x', 'x', null, [], 1]),
    /py_version_tag/,
  ],
  [
    'a file of another form',
    'BUILT',
    encode(['BUILT', 1, true, null, 1, '', NO_DETAILS, [['a.whl']]]),
    /files/,
  ],
  ['a log that is a number', 'BUILT', encode(['BUILT', 1, true, null, 1, 1, NO_DETAILS, []]), /output/],
  [
    'a failure class that is not a word',
    'BUILT',
    encode(['BUILT', 1, false, "x'; drop table builds; --", 1, '', NO_DETAILS, []]),
    /failure_class/,
  ],
  [
    'a build of negative duration',
    'BUILT',
    encode(['BUILT', 1, true, null, -1, '', NO_DETAILS, []]),
    /duration_s/,
  ],
  [
    'a reason that moves the cursor',
    'BUILT',
    encode(['BUILT', 1, false, 'other', 1, '', { ...NO_DETAILS, reason: '\u001b[2J' }, []]),
    /details/,
  ],
  ['a filename with a path', 'SENT', encode(['SENT', 1, '../../etc/passwd']), /filename/],
  ['an absolute filename', 'SENT', encode(['SENT', 1, '/etc/passwd']), /filename/],
  ['a filename with NUL', 'SENT', encode(['SENT', 1, 'a.whl\0.txt']), /filename/],
  ['a filename of a thousand letters', 'SENT', encode(['SENT', 1, 'x'.repeat(1000)]), /filename/],
  ['a transfer with a path', 'file.HELLO', encode(['HELLO', '../../x']), /transfer_id/],
  ['a transfer of every subject', 'file.HELLO', encode(['HELLO', '>']), /transfer_id/],
  ['an empty transfer', 'file.HELLO', encode(['HELLO', '']), /transfer_id/],
];

const id = '01234567-89ab-cdef-0123-456789abcdef';
const claim = (ticket: string) => `NATS/1.0\r\nPiw-Claim: ${ticket}\r\n\r\n`;
const HASH = 'f'.repeat(64);

/** Malformed headers: a name, the header block, and why it is refused. */
const HEADERS: readonly (readonly [string, string | Buffer, RegExp])[] = [
  [
    'a body in another’s bucket',
    claim(`piw-slave-victim claim.${id} 3 ${HASH}`),
    /where this sender may not/,
  ],
  ['a body in the farm’s bucket', claim(`piw-claims claim.${id} 3 ${HASH}`), /where this sender may not/],
  [
    'a body that is another object',
    claim(`piw-slave-mallory 1-0.abc 3 ${HASH}`),
    /where this sender may not/,
  ],
  ['a body of all objects', claim(`piw-slave-mallory claim.> 3 ${HASH}`), /where this sender may not/],
  ['a body with a path', claim(`piw-slave-mallory ../../etc/passwd 3 ${HASH}`), /where this sender may not/],
  [
    'a body of 10 GB',
    claim(`piw-slave-mallory claim.${id} 10737418240 ${HASH}`),
    /where this sender may not/,
  ],
  ['a body of 200 MB', claim(`piw-slave-mallory claim.${id} 209715200 ${HASH}`), /where this sender may not/],
  ['a body of minus 3', claim(`piw-slave-mallory claim.${id} -3 ${HASH}`), /where this sender may not/],
  ['a body of NaN', claim(`piw-slave-mallory claim.${id} NaN ${HASH}`), /where this sender may not/],
  ['a body of 3.5', claim(`piw-slave-mallory claim.${id} 3.5 ${HASH}`), /where this sender may not/],
  [
    'a body that was never stored',
    claim(`piw-slave-mallory claim.${id} 3 ${HASH}`),
    /is not in piw-slave-mallory/,
  ],
  ['half a ticket', claim('piw-slave-mallory'), /where this sender may not/],
  ['a ticket of spaces', claim('     '), /not MessagePack|where this sender may not/],
  [
    'two tickets',
    `NATS/1.0\r\nPiw-Claim: a b 3 c\r\nPiw-Claim: d e 3 f\r\n\r\n`,
    /where this sender may not/,
  ],
  ['headers that are not headers', 'GET / HTTP/1.1\r\n\r\n', /not MessagePack|cut off|SILENCE/],
  ['headers without a line', 'NATS/1.0\r\n\r\n', /cut off/],
  ['a header without a name', 'NATS/1.0\r\n: x\r\n\r\n', /cut off|SILENCE/],
  ['a header without a colon', 'NATS/1.0\r\nnonsense\r\n\r\n', /cut off|SILENCE/],
  ...Array.from(
    { length: 40 },
    (_, i) =>
      [
        `bytes as headers, ${i}`,
        bytes('NATS/1.0\r\n', randomBytes(200), ':\r\n\r\n'),
        /its headers are malformed|cut off/,
      ] as const,
  ),
  ['a header whose name has a space', 'NATS/1.0\r\na b: c\r\n\r\n', /cut off|malformed/],
  ['a header whose name is not ASCII', 'NATS/1.0\r\n\u00e4\u0001: c\r\n\r\n', /cut off|malformed/],
  ['a status', 'NATS/1.0 503 No Responders\r\n\r\n', /cut off|SILENCE/],
  ['60,000 headers', `NATS/1.0\r\n${'a: b\r\n'.repeat(60_000)}\r\n`, /cut off|SILENCE/],
];

void t.test('malformed messages are refused with a reason, and do no harm', async (t) => {
  const farm = await startHostileFarm(t, 5, { processes: 'each task' });
  const { mallory } = farm;
  await mallory.hello('s');

  await t.test('malformed MessagePack is refused', async (t) => {
    for (const [name, verb, body, reason] of MALFORMED) {
      farm.markLog();
      const answer = await mallory.sendRaw('s', verb, body);
      t.match(answer, ['ERROR', 'PIW_MESSAGE_INVALID', reason], name);
      await until(() =>
        farm.newLogs().includes(` subject=${mallory.subject('s', ...verb.split('.'))} `),
      ).catch(() => {
        t.fail(`the log says nothing about ${name}`);
      });
    }
  });

  await t.test('malformed headers are refused', async (t) => {
    for (const [name, headers, reason] of HEADERS) {
      farm.markLog();
      const answer = await mallory.sendRaw('s', 'IDLE', Buffer.from(''), { headers, timeoutMs: 3000 });
      t.match(answer.map(String).join(' '), reason, name);
    }
    t.match(await mallory.send('s', 'BUSY', 1, STATS), ['DONE'], 'the Slave Driver answers');
  });

  await t.test('headers with a wrong length close the connection, or are dropped', async (t) => {
    for (const [headerLength, isFatal] of [
      [1, false],
      [5, false],
      [100_000, true],
      [-1, true],
    ] as const) {
      const client = await RawNats.connect(farm.addresses.mallory);
      client.publish(mallory.subject('s', 'IDLE'), 'x', {
        headers: 'NATS/1.0\r\na: b\r\n\r\n',
        headerLength,
      });
      if (isFatal) await until(() => client.closed);
      else await client.flush();
      t.equal(client.closed, isFatal, `a header length of ${headerLength}`);
      client.close();
    }
    t.match(await mallory.send('s', 'BUSY', 1, STATS), ['DONE'], 'the Slave Driver answers');
  });

  await t.test('a large body that differs from its announcement is refused', async (t) => {
    const { raw } = mallory;
    // Nested as deeply as it is long, which would cost a decoder a hundred times its size.
    const body = Buffer.alloc(8 * 1024 * 1024, 0x91);
    const object = `claim.${id}`;
    for (let at = 0; at < body.length; at += 512 * 1024) {
      const headers = `NATS/1.0\r\nPiw-Offset: ${at}\r\n\r\n`;
      await raw.ask(`$O.piw-slave-mallory.C.${object}`, body.subarray(at, at + 512 * 1024), { headers });
    }
    const sha256 = createHash('sha256').update(body).digest('hex');
    const ticket = (size: number, hash: string) => claim(`piw-slave-mallory ${object} ${size} ${hash}`);
    const sendHeaders = (headers: string) =>
      mallory.sendRaw('s', 'IDLE', Buffer.from(''), { headers, timeoutMs: 30_000 });
    t.match(await sendHeaders(ticket(body.length, HASH)), [
      'ERROR',
      'PIW_OBJECT_BROKEN',
      /does not have the announced size and SHA-256/,
    ]);
    t.match(await sendHeaders(ticket(1024, sha256)), [
      'ERROR',
      'PIW_OBJECT_BROKEN',
      /does not have the announced size and SHA-256/,
    ]);
    t.match(await sendHeaders(ticket(body.length, sha256)), [
      'ERROR',
      'PIW_MESSAGE_INVALID',
      /nested more than 16 levels deep/,
    ]);
  });

  await t.test('500 tickets for bodies of 128 MB that do not exist are refused cheaply', async (t) => {
    const before = farm.residentBytes('slave-driver');
    const headers = claim(`piw-slave-mallory claim.${id} 134217728 ${HASH}`);
    const answers = await Promise.all(
      Array.from({ length: 500 }, (_, i) =>
        mallory.sendRaw(`f${i}`, 'IDLE', Buffer.from(''), { headers, timeoutMs: 60_000 }),
      ),
    );
    t.ok(answers.every(([verb]) => verb === 'ERROR'));
    t.ok(
      answers.some(([, code]) => code === 'PIW_TOO_LARGE'),
      'most are refused without a lookup',
    );
    const growth = farm.residentBytes('slave-driver') - before;
    t.comment(`the Slave Driver has grown by ${(growth / 1e6).toFixed(0)} MB`);
    t.ok(growth < 200e6);
  });

  t.equal(mallory.raw.closed, false);
  await farm.assertUnharmed(t);
});

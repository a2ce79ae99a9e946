import t from 'tap';
import { LOG_FORMATS, createLineParser, type AccessLogFormat } from '../../src/weblog/lines.js';
import type { LogLine } from '../../src/weblog/log-line.js';

const TIME = Date.UTC(2026, 9, 21, 21, 4, 7) / 1000;
const WHEN = '[21/Oct/2026:23:04:07 +0200]';
const REQUEST = 'GET /simple/six/ HTTP/1.1';

/** Lines as the servers write them, each with the formats that accept it. */
const LINES: readonly (readonly [
  line: string,
  formats: readonly AccessLogFormat[],
  host: string,
  agent: string,
])[] = [
  [`192.0.2.1 - - ${WHEN} "${REQUEST}" 200 5`, ['auto', 'common'], '192.0.2.1', ''],
  [`2001:db8::1 - - ${WHEN} "${REQUEST}" 200 -`, ['auto', 'common'], '2001:db8::1', ''],
  [`192.0.2.1 - john doe ${WHEN} "${REQUEST}" 200 5`, ['auto', 'common'], '192.0.2.1', ''],
  [`www.example.org:443 192.0.2.1 - - ${WHEN} "${REQUEST}" 200 5`, ['auto', 'common_vhost'], '192.0.2.1', ''],
  [`www.example.org 192.0.2.1 - - ${WHEN} "${REQUEST}" 200 5`, ['auto', 'common_vhost'], '192.0.2.1', ''],
  [
    `192.0.2.1 - - ${WHEN} "${REQUEST}" 200 5 "-" "pip/23.2 {\\"cpu\\":\\"armv7l\\"}"`,
    ['auto', 'combined', 'nginx', 'common'],
    '192.0.2.1',
    'pip/23.2 {\\"cpu\\":\\"armv7l\\"}',
  ],
  [
    `192.0.2.1 - - ${WHEN} "${REQUEST}" 200 5 "http://x/\\"\\\\" "pip/23.2 {\\x22cpu\\x22:1}" "10.0.0.1"`,
    ['auto', 'combined', 'nginx', 'common'],
    '192.0.2.1',
    'pip/23.2 {\\x22cpu\\x22:1}',
  ],
  [
    `www.example.org:80 host.example - - ${WHEN} "${REQUEST}" 200 5 "-" "-"`,
    ['auto', 'combined_vhost', 'common_vhost'],
    'host.example',
    '-',
  ],
  [
    `{"time":"2026-10-21T23:04:07+02:00","host":"192.0.2.1","request":"${REQUEST}","status":200,"agent":"a \\"b\\" \\\\"}`,
    ['auto', 'json'],
    '192.0.2.1',
    'a "b" \\\\',
  ],
  [
    `{"time":"2026-10-21T23:04:07+0200","host":"192.0.2.1","request":"${REQUEST}","status":200,"agent":"\\xc3\\xa9"}`,
    ['auto', 'json'],
    '192.0.2.1',
    'Ã©',
  ],
];

void t.test('every format accepts its own lines, and no others', (t) => {
  for (const [line, formats, host, agent] of LINES) {
    for (const format of formats)
      t.same(
        createLineParser(format)(line),
        { host, time: TIME, request: REQUEST, status: 200, agent },
        `${format}: ${line}`,
      );
  }
  const strict: readonly (readonly [AccessLogFormat, number])[] = [
    ['combined', 0],
    ['combined', 3],
    ['nginx', 1],
    ['combined_vhost', 3],
    ['json', 0],
    ['common', 8],
    ['common_vhost', 0],
  ];
  for (const [format, at] of strict)
    t.equal(createLineParser(format)(LINES[at]?.[0] ?? ''), undefined, `${format} ${at}`);
  t.equal(LOG_FORMATS.length, 7);
  t.end();
});

void t.test('invalid lines are rejected, whatever they contain', (t) => {
  const parse = createLineParser('auto');
  const good = LINES[5]?.[0] ?? '';
  t.ok(parse(good));
  const invalidLines = [
    '',
    ' ',
    '-',
    '\u0000'.repeat(1000),
    'x'.repeat(1_000_000),
    '"'.repeat(10_000),
    '\\'.repeat(10_000),
    '[[[[[[[] "] "] "',
    good.slice(0, 60),
    good.replace('Oct', 'Foo'),
    good.replace('21/Oct', '31/Feb'),
    good.replace(':23:', ':24:'),
    good.replace('2026', '1996'),
    good.replace('2026', '2926'),
    good.replace(' 200 ', ' 20 '),
    good.replace(' 200 ', ' 99999999999999999999 '),
    good.replace(' 200 ', ' 1e9 '),
    good.replace('HTTP/1.1"', 'HTTP/1.1'),
    good.slice(12),
    '{',
    '{}',
    'null',
    '{"time":1e400,"host":"x","request":"x","status":200}',
    '{"time":"2026-10-21T23:04:07Z","host":"","request":"x","status":200}',
    '{"time":"2026-10-21T23:04:07Z","host":"x","request":["x"],"status":200}',
    '{"time":"2026-10-21","host":"x","request":"x","status":200}',
    '['.repeat(100_000),
  ];
  for (const line of invalidLines) t.equal(parse(line), undefined, line.slice(0, 80));
  t.end();
});

void t.test('a user name or a request cannot pass for another part of the line', (t) => {
  const parse = createLineParser('combined');
  const fieldsOf = ({ host, request, agent }: Partial<LogLine> = {}) => [host, request, agent];
  t.same(fieldsOf(parse(`192.0.2.1 - a] "b ${WHEN} "${REQUEST}" 200 5 "-" "x"`)), [
    '192.0.2.1',
    REQUEST,
    'x',
  ]);
  t.same(fieldsOf(parse(`192.0.2.1 - - ${WHEN} "GET /\\" 200 5 \\"-\\" HTTP/1.1" 404 5 "-" "x"`)), [
    '192.0.2.1',
    'GET /\\" 200 5 \\"-\\" HTTP/1.1',
    'x',
  ]);
  t.same(parse(`192.0.2.1 - - ${WHEN} "\\x16\\x03\\x01" 400 5 "-" "-"`)?.request, '\\x16\\x03\\x01');
  t.same(parse(`192.0.2.1 - - ${WHEN} "-" 408 - "-" "-"`)?.request, '-');
  t.end();
});

import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, fstatSync, mkdtempSync, openSync, readFileSync, renameSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { PiwError } from '../src/errors.js';
import { createLog, fileSink, type Log, type LogFormat, type LogLevel } from '../src/log.js';
import { until } from './helpers/bus.js';

/** Returns a log and its lines, in which the time is replaced by `TIME`. */
function captureLog(
  level: LogLevel = 'debug',
  format: LogFormat = 'text',
): { readonly log: Log; readonly lines: string[] } {
  const lines: string[] = [];
  const sink = (line: string): void =>
    void lines.push(line.replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/, 'TIME'));
  return { log: createLog('test', level, sink, format), lines };
}

void t.test('an event is one line of text, with its fields behind it', (t) => {
  const { log, lines } = captureLog();
  log.info('slave connected', {
    slave: 12,
    label: 'attic',
    abi: 'cp311',
    sandbox: false,
    platform: undefined,
  });
  log.warning('started');
  t.same(lines, [
    'TIME INFO    test: slave connected slave=12 label=attic abi=cp311 sandbox=false',
    'TIME WARNING test: started',
  ]);
  t.end();
});

void t.test('lines below the level are not written', (t) => {
  const { log, lines } = captureLog('warning');
  log.debug('a');
  log.info('b');
  log.warning('c');
  log.with({ slave: 1 }).info('d');
  log.error('e');
  t.same(lines, ['TIME WARNING test: c', 'TIME ERROR   test: e']);
  t.end();
});

void t.test('values are quoted unless they are one plain word', (t) => {
  const { log, lines } = captureLog();
  for (const value of [
    ...['', 'two words', 'say "hi"', 'a=b', 'C:\\temp', 'C:\\a b', 'größer', '/var/www', '\u00a0'],
    ...[['one'], ['one', 'two'], []],
  ])
    log.info('it', { value });
  t.same(
    lines.map((line) => line.replace('TIME INFO    test: it value=', '')),
    [
      ...['""', '"two words"', '"say \\"hi\\""', '"a=b"', 'C:\\temp', '"C:\\\\a b"', 'größer', '/var/www'],
      ...['"\u00a0"', 'one', '"one, two"', '""'],
    ],
  );
  t.end();
});

void t.test('text from outside neither begins a line nor moves the cursor', (t) => {
  const { log, lines } = captureLog();
  log.info('it ends\nERROR test: here', {
    file: 'a\r\nb',
    path: '\u001b[2J\u009b2Jc\u007f\u0000',
    line: 'at a\n    at b',
  });
  t.same(lines, [
    'TIME INFO    test: it ends ERROR test: here file="a b" path=" [2J 2Jc " line="at a     at b"',
  ]);
  t.end();
});

void t.test('an error has its code and message, and at the level of errors also advice', (t) => {
  const { log, lines } = captureLog();
  const error = new PiwError('PIW_TIMEOUT', 'no answer to "NEXT"');
  log.warning('request failed, retrying', { verb: 'NEXT' }, error);
  log.error('task failed', {}, error);
  log.warning('cannot remove a folder', {}, Object.assign(new Error('gone'), { code: 'ENOENT' }));
  log.warning('failed', {}, 'thrown text');
  t.same(lines, [
    'TIME WARNING test: request failed, retrying verb=NEXT code=PIW_TIMEOUT error="no answer to \\"NEXT\\""',
    `TIME ERROR   test: task failed code=PIW_TIMEOUT error="no answer to \\"NEXT\\"" advice="${error.advice}"`,
    'TIME WARNING test: cannot remove a folder code=ENOENT error=gone',
    'TIME WARNING test: failed error="thrown text"',
  ]);
  t.end();
});

void t.test('bindings come first, nest, and give way to the fields of an event', (t) => {
  const { log, lines } = captureLog();
  const slaveLog = log.with({ slave: 12 });
  const buildLog = slaveLog.with({ lease: 7, attempt: 1 });
  buildLog.info('build started', { package: 'six' });
  buildLog.info('build retried', { attempt: 2 });
  slaveLog.info('idle');
  log.info('at work');
  t.same(lines, [
    'TIME INFO    test: build started slave=12 lease=7 attempt=1 package=six',
    'TIME INFO    test: build retried slave=12 lease=7 attempt=2',
    'TIME INFO    test: idle slave=12',
    'TIME INFO    test: at work',
  ]);
  t.end();
});

void t.test('a line of JSON holds the same values that were logged', (t) => {
  const { log, lines } = captureLog('debug', 'json');
  const fields = {
    slave: 12,
    delay_s: 0.5,
    idle: true,
    label: 'the "attic"',
    files: ['a', 'b c'],
    text: 'a\r\nb\u001b[2J\u007f\u009b=\u2028',
  };
  const error = new PiwError('PIW_TIMEOUT', 'no\nanswer');
  log.with({ lease: 7 }).warning('build "lost"', { ...fields, platform: undefined }, error);
  log.info('at work');
  log.error('failed', {}, new Error('why'));
  t.same(
    lines.map((line) => JSON.parse(line) as unknown),
    [
      {
        time: 'TIME',
        level: 'warning',
        name: 'test',
        event: 'build "lost"',
        lease: 7,
        ...fields,
        error: { code: 'PIW_TIMEOUT', message: 'no\nanswer', advice: error.advice },
      },
      { time: 'TIME', level: 'info', name: 'test', event: 'at work' },
      { time: 'TIME', level: 'error', name: 'test', event: 'failed', error: { message: 'why' } },
    ],
  );
  t.notMatch(lines.join(''), /\p{Cc}/u, 'no control character is left');
  t.end();
});

void t.test('a log file gets one line per event, behind what it has', (t) => {
  const file = join(mkdtempSync(join(tmpdir(), 'piw-log-')), 'log');
  for (const event of ['first', 'second']) createLog('test', 'info', fileSink(file)).info(event);
  t.match(readFileSync(file, 'utf8'), /^\S+ INFO {4}test: first\n\S+ INFO {4}test: second\n$/);
  t.throws(() => fileSink('/dev/null/log'), { code: 'PIW_NOT_WRITABLE' });
  t.end();
});

void t.test(
  'the journal gets priorities and no times, and another file none, whatever systemd has said',
  (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'piw-log-'));
    const module = new URL('../src/log.js', import.meta.url).href;
    const program = `import { createLog } from '${module}';
    createLog('test', 'debug').info('first', { slave: 12 });
    createLog('test', 'debug', undefined, 'json').warning('second');`;
    const linesOf = (name: string, isJournal: boolean): string => {
      const file = openSync(join(folder, name), 'w');
      const { dev, ino } = fstatSync(file);
      spawnSync(process.execPath, ['--input-type=module', '-e', program], {
        stdio: ['ignore', 'ignore', file],
        env: { ...process.env, JOURNAL_STREAM: isJournal ? `${dev}:${ino}` : `${dev}:1` },
      });
      closeSync(file);
      return readFileSync(join(folder, name), 'utf8');
    };
    t.match(
      linesOf('journal', true),
      /^<6>INFO {4}test: first slave=12\n<4>\{"time":.*"event":"second"\}\n$/,
    );
    t.match(linesOf('other', false), /^\d{4}-\S+ INFO {4}test: first slave=12\n\{"time":/);
    t.end();
  },
);

void t.test(
  'a log file that was renamed is opened again: at once on SIGHUP, otherwise within a second',
  async (t) => {
    const file = join(mkdtempSync(join(tmpdir(), 'piw-log-')), 'log');
    t.equal(fileSink(null), undefined);
    const log = createLog('test', 'info', fileSink(file));
    const rotate = (to: string) => {
      renameSync(file, `${file}.${to}`);
    };
    log.info('first');
    rotate('2');
    log.info('second');
    process.kill(process.pid, 'SIGHUP');
    await until(() => existsSync(file));
    log.info('third');
    rotate('1');
    await until(() => {
      log.info('fourth');
      return existsSync(file);
    });
    t.match(readFileSync(`${file}.2`, 'utf8'), /first\n.*second\n$/);
    t.match(readFileSync(`${file}.1`, 'utf8'), /^\S+ INFO {4}test: third\n/);
    t.match(readFileSync(file, 'utf8'), /^\S+ INFO {4}test: fourth\n$/);
  },
);

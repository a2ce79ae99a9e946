import t from 'tap';
import { BuildLog } from '../../src/builder/log.js';

/** Returns the text of a log with a limit in bytes after these chunks, and the lines that it emitted. */
function logOf(limit: number, chunks: readonly (string | Buffer)[]): { text: string; lines: string[] } {
  const lines: string[] = [];
  const log = new BuildLog(limit, (line) => lines.push(line));
  for (const chunk of chunks) log.add(Buffer.from(chunk));
  return { text: log.text(), lines };
}

t.test('a log below its limit is complete, in whatever chunks it arrives', (t) => {
  const text = 'one\ntwo\r\nthrée\n';
  const bytes = Buffer.from(text);
  for (const limit of [bytes.length, bytes.length + 1, 1000]) {
    t.equal(logOf(limit, [text]).text, text);
    t.equal(
      logOf(
        limit,
        [...bytes].map((byte) => Buffer.of(byte)),
      ).text,
      text,
    );
  }
  t.end();
});

t.test('a log over its limit keeps its first and last half, in whatever chunks it arrives', (t) => {
  const text = Array.from({ length: 1000 }, (_, number) => String(number).padStart(4, '0')).join('');
  const expected = `${text.slice(0, 50)}\npiw: 3,900 bytes of the log are missing here\n${text.slice(-50)}`;
  for (const size of [1, 7, 49, 50, 51, 100, 4000]) {
    const chunks = Array.from({ length: Math.ceil(4000 / size) }, (_, n) =>
      text.slice(n * size, (n + 1) * size),
    );
    t.equal(logOf(100, chunks).text, expected, `in chunks of ${size}`);
  }
  t.end();
});

t.test('lines are emitted when they end, with any line ending, or grow too long', (t) => {
  const { lines } = logOf(100, ['on', 'e\n\n', '10 %\r20 %\r\n', 'x'.repeat(10_001), 'rest\n', 'open']);
  t.strictSame(lines, ['one', '10 %', '20 %', 'x'.repeat(10_000), 'rest']);
  t.end();
});

t.test('a log contains no NUL, which the database cannot store, and stays within its limit', (t) => {
  t.equal(logOf(100, ['a\0b\n']).text, 'a?b\n');
  const latin = Buffer.from('grüße: '.repeat(20), 'latin1');
  t.equal(logOf(200, [latin]).text, 'gr??e: '.repeat(20));
  t.equal(Buffer.byteLength(logOf(140, [latin]).text), 140);
  t.end();
});

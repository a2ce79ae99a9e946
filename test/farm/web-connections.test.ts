import { mkdtempSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { startWebServer } from '../../src/farm/web-server.js';
import { until } from '../helpers/bus.js';

t.setTimeout(60_000);

/** A folder with a file that is larger than all that lies between server and client, and the server, in this process. */
async function stage(t: Test, stalledMs = 60_000) {
  const output = mkdtempSync(join(tmpdir(), 'piw-web-'));
  const large = join(output, 'large.txt');
  writeFileSync(large, Buffer.alloc(50_000_000, 'x'));
  for (const name of ['a', 'b', 'c']) writeFileSync(join(output, `${name}.txt`), name);
  const faults: string[] = [];
  const onFault = (text: string): void => void faults.push(text);
  const server = await startWebServer({ root: output, host: '127.0.0.1', port: 0, stalledMs, onFault });
  t.teardown(() => server.close());
  const open = (): Socket => {
    const socket = connect(server.port, '127.0.0.1');
    socket.on('error', () => undefined);
    t.teardown(() => socket.destroy());
    return socket;
  };
  return { output, large, faults, open, url: `http://127.0.0.1:${String(server.port)}` };
}

const get = (path: string, more = ''): string => `GET ${path} HTTP/1.1\r\nHost: here\r\n${more}\r\n`;

/** How often a file is open in this process. */
const opened = (path: string): number =>
  readdirSync('/proc/self/fd').filter((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`) === path;
    } catch {
      return false;
    }
  }).length;

void t.test('what is asked for ahead is answered in its order', async (t) => {
  const { open } = await stage(t);
  const socket = open();
  let text = '';
  socket.on('data', (data: Buffer) => (text += data.toString()));
  socket.write(get('/a.txt') + get('/none') + get('/b.txt') + get('/c.txt', 'Connection: close\r\n'));
  await new Promise((resolve) => socket.once('end', resolve));
  t.same(text.match(/HTTP\/1.1 \d+|\r\n\r\n[abcN]/g), [
    ...['HTTP/1.1 200', '\r\n\r\na', 'HTTP/1.1 404', '\r\n\r\nN'],
    ...['HTTP/1.1 200', '\r\n\r\nb', 'HTTP/1.1 200', '\r\n\r\nc'],
  ]);
});

void t.test('who asks for much ahead has one file open, and none once the connection is gone', async (t) => {
  const { large, open, url } = await stage(t);
  const socket = open();
  socket.write(get('/large.txt').repeat(50));
  await new Promise((resolve) => socket.once('readable', resolve));
  t.equal(await (await fetch(`${url}/a.txt`)).text(), 'a', 'others are answered');
  t.equal(opened(large), 1);
  socket.destroy();
  await until(() => opened(large) === 0);
});

void t.test('who asks for more ahead than anybody does is heard no more', async (t) => {
  const { large, open, url } = await stage(t);
  const socket = open();
  socket.write(get('/large.txt').repeat(1000));
  socket.resume();
  await new Promise((resolve) => socket.once('close', resolve));
  await until(() => opened(large) === 0);
  t.equal(await (await fetch(`${url}/a.txt`)).text(), 'a');
});

void t.test('who takes nothing of what was asked for is let go', async (t) => {
  const { large, open } = await stage(t, 300);
  const socket = open();
  socket.write(get('/large.txt'));
  await new Promise((resolve) => socket.once('readable', resolve));
  t.equal(opened(large), 1);
  await until(() => opened(large) === 0);
});

void t.test('of what should not have happened the client is told no more than that it did', async (t) => {
  const { output, faults, url } = await stage(t);
  const odd = createServer().listen(join(output, 'odd'));
  t.teardown(() => odd.close());
  await new Promise((resolve) => odd.once('listening', resolve));
  const answer = await fetch(`${url}/odd`);
  t.equal(answer.status, 500);
  t.notMatch(await answer.text(), output);
  t.match(faults, [/^\/odd could not be answered: .*ENXIO/]);
});

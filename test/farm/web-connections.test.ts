import { mkdtempSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { createLog } from '../../src/log.js';
import type { ConnectionLimits } from '../../src/web/connections.js';
import { startWebServer } from '../../src/web/web-server.js';
import { until } from '../helpers/bus.js';

t.setTimeout(60_000);

/** Starts the server in this process; its site has a file that is larger than all buffers between server and client. */
async function startServer(t: Test, limits: Partial<ConnectionLimits> = {}) {
  const output = mkdtempSync(join(tmpdir(), 'piw-web-'));
  const large = join(output, 'large.txt');
  writeFileSync(large, Buffer.alloc(50_000_000, 'x'));
  for (const name of ['a', 'b', 'c']) writeFileSync(join(output, `${name}.txt`), name);
  const faults: string[] = [];
  const { warning: onFault } = createLog('web', 'info', (line) => faults.push(line));
  const server = await startWebServer({ root: output, host: '127.0.0.1', port: 0, limits, onFault });
  t.teardown(() => server.close());
  const open = (localAddress = '127.0.0.1'): Socket => {
    const socket = connect({ port: server.port, host: '127.0.0.1', localAddress });
    socket.on('error', () => undefined);
    t.teardown(() => socket.destroy());
    return socket;
  };
  return { output, large, faults, open, url: `http://127.0.0.1:${server.port}` };
}

const get = (path: string, headers = ''): string => `GET ${path} HTTP/1.1\r\nHost: here\r\n${headers}\r\n`;

/** Returns how many times a file is open in this process. */
const openCount = (path: string): number =>
  readdirSync('/proc/self/fd').filter((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`) === path;
    } catch {
      return false;
    }
  }).length;

void t.test('pipelined requests are answered in order', async (t) => {
  const { open } = await startServer(t);
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

void t.test(
  'a client with pipelined requests has one file open, and none once its connection is closed',
  async (t) => {
    const { large, open, url } = await startServer(t);
    const socket = open();
    socket.write(get('/large.txt').repeat(50));
    await new Promise((resolve) => socket.once('readable', resolve));
    t.equal(await (await fetch(`${url}/a.txt`)).text(), 'a', 'other clients are answered');
    t.equal(openCount(large), 1);
    socket.destroy();
    await until(() => openCount(large) === 0);
  },
);

void t.test('a client with too many pipelined requests is disconnected', async (t) => {
  const { large, open, url } = await startServer(t);
  const socket = open();
  socket.write(get('/large.txt').repeat(1000));
  socket.resume();
  await new Promise((resolve) => socket.once('close', resolve));
  await until(() => openCount(large) === 0);
  t.equal(await (await fetch(`${url}/a.txt`)).text(), 'a');
});

void t.test('a client that reads nothing of its answer is disconnected', async (t) => {
  const { large, open } = await startServer(t, { stalledMs: 300 });
  const socket = open();
  socket.write(get('/large.txt'));
  await new Promise((resolve) => socket.once('readable', resolve));
  t.equal(openCount(large), 1);
  await until(() => openCount(large) === 0);
});

/** Sends a request and returns the first 12 characters of the answer; '' if there is none. */
async function statusOf(socket: Socket, path: string): Promise<string> {
  socket.write(get(path, 'Connection: close\r\n'));
  let text = '';
  socket.on('data', (data: Buffer) => (text += data.toString()));
  await new Promise((resolve) => socket.once('close', resolve));
  return text.slice(0, 12);
}

/** Opens connections that request a large file and read nothing of it. */
async function openStalled(
  open: (address?: string) => Socket,
  count: number,
  address?: string,
): Promise<void> {
  for (let n = 0; n < count; n += 1) {
    const socket = open(address);
    await new Promise((resolve) => socket.once('connect', resolve));
    socket.write(get('/large.txt'));
  }
}

void t.test(
  'stalled clients do not keep others from being answered, not even at their own address',
  async (t) => {
    const { large, open } = await startServer(t, { perAddress: 20 });
    await openStalled(open, 60);
    t.ok(openCount(large) <= 20, `${openCount(large)} of 60 have the file open`);
    await until(async () => (await statusOf(open(), '/a.txt')) === 'HTTP/1.1 200');
    t.equal(
      await statusOf(open('127.0.0.2'), '/a.txt'),
      'HTTP/1.1 200',
      'another address is answered at once',
    );
  },
);

void t.test('when all connections are taken, the address with the most of them loses one', async (t) => {
  const { large, open } = await startServer(t, { perAddress: 20, total: 25 });
  await openStalled(open, 5, '127.0.0.3');
  await openStalled(open, 20, '127.0.0.2');
  await until(() => openCount(large) === 25);
  await until(async () => (await statusOf(open(), '/a.txt')) === 'HTTP/1.1 200');
  await openStalled(open, 10);
  await until(() => openCount(large) === 25);
  // Only a connection that has been idle for a moment can be closed for a new one.
  await until(async () => (await statusOf(open('127.0.0.3'), '/b.txt')) === 'HTTP/1.1 200');
});

void t.test('an address whose connections are all active gets 503 for one more', async (t) => {
  const { open } = await startServer(t, { perAddress: 3 });
  for (let n = 0; n < 3; n += 1) open().write('GET /a.txt HTTP/1.1\r\n');
  const extraSocket = open();
  t.equal(await statusOf(extraSocket, '/a.txt'), 'HTTP/1.1 503');
});

void t.test(
  'a client that reads more slowly than the minimum rate is disconnected, and no other',
  async (t) => {
    for (const [minRate, staysConnected] of [
      [100_000_000, false],
      [1000, true],
    ] as const) {
      const { large, open } = await startServer(t, { stalledMs: 600, minRate });
      const socket = open();
      let ended = false;
      socket.once('close', () => (ended = true));
      socket.write(get('/large.txt'));
      await new Promise((resolve) => socket.once('readable', resolve));
      // About 3 MB per second, so that the socket is never idle.
      const reading = setInterval(() => void socket.read(Math.min(64 * 1024, socket.readableLength)), 20);
      const startedAt = performance.now();
      await until(() => ended || performance.now() - startedAt > 3000);
      clearInterval(reading);
      t.equal(openCount(large), staysConnected ? 1 : 0, `at least ${minRate} bytes per second`);
    }
  },
);

void t.test('a client sees only the status of an internal error', async (t) => {
  const { output, faults, url } = await startServer(t);
  const unixSocket = createServer().listen(join(output, 'odd'));
  t.teardown(() => unixSocket.close());
  await new Promise((resolve) => unixSocket.once('listening', resolve));
  const answer = await fetch(`${url}/odd`);
  t.equal(answer.status, 500);
  t.notMatch(await answer.text(), output);
  t.match(faults, [/ request failed url=\/odd code=ENXIO /]);
});

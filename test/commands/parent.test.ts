import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { sendToParent } from '../../src/commands/parent.js';

const LINES = 100_000;
const EVERY = 1000;

// As a child (tap's own processes are children, too), it sends more at once than its parent reads.
if (process.argv[2] === 'child') {
  for (let number = 0; number < LINES; number += 1) {
    sendToParent({ line: 'x'.repeat(200) }, true);
    if (number % EVERY === 0) sendToParent({ number });
  }
  process.once('beforeExit', () => {
    if (process.connected) process.disconnect();
  });
} else {
  const { default: t } = await import('tap');
  t.test('a parent gets all messages, except droppable ones that it is too slow for', async (t) => {
    const child = fork(fileURLToPath(import.meta.url), ['child'], { execArgv: [] });
    let lines = 0;
    const numbers: number[] = [];
    child.on('message', (message: { readonly line?: string; readonly number?: number }) => {
      if (message.number === undefined) lines += 1;
      else numbers.push(message.number);
    });
    const code = await new Promise((resolve) => child.once('close', resolve));
    t.equal(code, 0);
    t.strictSame(
      numbers,
      Array.from({ length: LINES / EVERY }, (_, i) => i * EVERY),
    );
    t.ok(lines > 0 && lines < LINES / 2, String(lines));
  });
  t.test('without a parent, messages are discarded', (t) => {
    const child = fork(fileURLToPath(import.meta.url), ['child'], { execArgv: [] });
    child.disconnect();
    child.once('exit', (code) => {
      t.equal(code, 0);
      t.end();
    });
  });
}

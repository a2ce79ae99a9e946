import { spawnSync } from 'node:child_process';
import t from 'tap';

const PROCESS = new URL('../../src/actor/process.js', import.meta.url).href;

/** Returns the niceness after yieldTo(`nice`) in a process that was started with niceness `inherited`. */
function nicenessOf(inherited: number, nice: number): string {
  const script = `
    import { getPriority } from 'node:os';
    import { yieldTo } from ${JSON.stringify(PROCESS)};
    await yieldTo(${nice}, { warning: console.log });
    console.log(getPriority());`;
  const args = ['-n', String(inherited), process.execPath, '--input-type=module', '-e', script];
  return spawnSync('nice', args, { encoding: 'utf8' }).stdout;
}

void t.test('a niceness is only ever raised', (t) => {
  t.equal(nicenessOf(0, 10), '10\n');
  t.equal(nicenessOf(15, 10), '15\n');
  t.end();
});

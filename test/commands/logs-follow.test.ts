import { spawn } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { deferred } from '../../src/concurrency/deferred.js';
import type { RawSettings } from '../../src/config.js';
import { NO_DETAILS } from '../../src/model/build-details.js';
import { formatConfig } from '../../src/settings/config-file.js';
import { until } from '../helpers/bus.js';
import { piwRunner, runTask } from '../helpers/command.js';
import {
  MASTER_TASKS,
  slaveHello,
  succeedingBuild,
  testMaster,
  testSlave,
  type BuildStub,
} from '../helpers/master.js';
import { TestNats } from '../helpers/own-nats.js';

t.setTimeout(280_000);

const BIN = fileURLToPath(new URL('../../run/bin.js', import.meta.url));

/** A build that writes lines when the test says so, and ends with the result that the test chooses. */
function controlledBuild() {
  const lines: string[] = [];
  const started = deferred<(line: string) => void>();
  const ending = deferred<boolean>();
  const stub: BuildStub = async (request, workDir) => {
    started.resolve(request.onLine);
    const succeeds = await Promise.race([
      ending.promise,
      new Promise<boolean>((resolve) => {
        request.signal.addEventListener('abort', () => {
          resolve(false);
        });
      }),
    ]);
    const output = `${lines.join('\n')}\n`;
    if (succeeds) return { ...(await succeedingBuild(request, workDir)), output };
    return { status: false, failureClass: 'compiler', durationS: 3, output, details: NO_DETAILS, files: [] };
  };
  return {
    stub,
    started: started.promise,
    write: async (line: string, isSeen = true) => {
      lines.push(line);
      if (isSeen) (await started.promise)(line);
    },
    end: (succeeds: boolean) => {
      ending.resolve(succeeds);
    },
  };
}

/** Starts `piw logs --follow` with these arguments; its output is read while it runs. */
function startFollowing(t: Test, settings: RawSettings, ...args: readonly string[]) {
  const file = join(mkdtempSync(join(tmpdir(), 'piw-follow-')), 'piwheels.conf');
  writeFileSync(file, formatConfig(settings));
  const child = spawn(process.execPath, [BIN, 'logs', ...args, '--follow', '-c', file], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const text = { out: '', err: '' };
  child.stdout.on('data', (data: Buffer) => (text.out += data.toString()));
  child.stderr.on('data', (data: Buffer) => (text.err += data.toString()));
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  return { child, text, ended };
}

void t.test('a build is followed to its end, and the exit code is its result', async (t) => {
  const build = controlledBuild();
  const { prefix, settings, untilSlave, bus, slaves } = await testMaster(t);
  const outputSubscription = bus.subscribe(bus.subject('slave', '*', '*', 'OUTPUT'));
  t.teardown(() => outputSubscription.stop());
  let outputMessages = 0;
  void (async () => {
    const read = outputSubscription[Symbol.asyncIterator]();
    while (!(await read.next()).done) outputMessages += 1;
  })();
  await testSlave(t, prefix, build.stub);
  await build.write('Collecting demo');
  await build.write('\u001b]0;owned\u0007\u001b[31mwarning\u001b[0m: red\u001b[2J');
  await untilSlave(({ state }) => state === 'building');
  t.equal(outputMessages, 0, 'nobody follows');

  const first = startFollowing(t, settings, 'Demo');
  await until(() => first.text.out.includes('warning'));
  t.equal(first.text.out, 'Collecting demo\nwarning: red\n', 'without what would change the terminal');
  t.match(first.text.err, /^following demo 1\.0 for cp311 on anvil \(slave \d+\)\n$/);
  const [slave] = await slaves();
  const second = startFollowing(t, settings, '--slave', String(slave?.slave_id));
  await until(() => second.text.out.includes('warning'));
  await build.write('compiling');
  await until(() => [first, second].every(({ text }) => text.out.includes('compiling')));
  const interrupted = startFollowing(t, settings, 'demo', '1.0');
  await until(() => interrupted.text.out.includes('compiling'));
  interrupted.child.kill('SIGINT');
  t.equal(await interrupted.ended, 130);
  t.match(interrupted.text.err, /^following [^\n]*\n$/, 'interrupted without a word');

  await build.write('error: \u001b[1mgcc\u001b[0m failed', false);
  build.end(false);
  t.same([await first.ended, await second.ended], [1, 1]);
  const whole = 'Collecting demo\nwarning: red\ncompiling\nerror: gcc failed\n';
  t.equal(first.text.out, whole, 'the rest is from the log');
  t.equal(second.text.out, whole);
  t.match(first.text.err, /\nbuild \d+: demo 1\.0 for cp311 \S+ failed \(compiler\) after 3 s on anvil, /);

  const after = startFollowing(t, settings, 'demo');
  t.equal(await after.ended, 1, 'a build that has ended is printed');
  t.match(after.text.out, /^Collecting demo\n/);
  t.match(after.text.err, /^build \d+: demo 1\.0 .* failed/);
});

void t.test('following goes on when nats-server is restarted', async (t) => {
  const nats = await TestNats.start(t);
  const build = controlledBuild();
  const { settings, untilSlave } = await testMaster(t, { nats: nats.address });
  await testSlave(t, 'piw', build.stub, { bus: await nats.connect(t, { prefix: 'piw' }) });
  await build.write('before');
  await untilSlave(({ state }) => state === 'building');
  const { text, ended } = startFollowing(t, settings, 'demo');
  await until(() => text.out.includes('before'));
  await nats.stop('SIGKILL');
  await build.write('during');
  await nats.start();
  await until(() => text.out.includes('during'));
  await build.write('after');
  await until(() => text.out.includes('after'));
  build.end(true);
  t.equal(await ended, 0, 'the build has succeeded');
  t.equal(text.out, 'before\nduring\nafter\n');
});

void t.test('following goes on when another Slave Driver takes over', async (t) => {
  const build = controlledBuild();
  const tasks = MASTER_TASKS.filter((task) => task !== 'slave-driver');
  const { settings, prefix, untilSlave } = await testMaster(t, { tasks });
  const { stop } = runTask(t, 'slave-driver', settings);
  await testSlave(t, prefix, build.stub, { hello: { ...slaveHello(), busy_interval_s: 1 } });
  await build.write('before');
  await untilSlave(({ state }) => state === 'building');
  const { text, ended } = startFollowing(t, settings, 'demo');
  await until(() => text.out.includes('before'));
  await stop();
  await build.write('during');
  await until(() => text.err.includes('the farm does not answer; waiting for it'));
  runTask(t, 'slave-driver', settings);
  await until(() => text.out.includes('during'));
  t.match(text.err, /\npiw: the farm answers again\n/);
  build.end(true);
  t.equal(await ended, 0);
  t.equal(text.out, 'before\nduring\n');
});

void t.test('what can’t be followed is named', async (t) => {
  const { settings, prefix, untilSlave, control, slaves } = await testMaster(t, { versions: ['1.0', '2.0'] });
  // Following installs handlers of signals.
  const piw = piwRunner(settings, { ownProcess: true });
  const piwHere = piwRunner(settings);
  const [queued, unknown, idle, misused, unnamed] = await Promise.all([
    piw('logs', 'demo', '--follow'),
    piw('logs', 'nothing', '--follow'),
    piw('logs', '--slave', 'pi4', '--follow'),
    piwHere('logs', 'demo', '--slave', 'pi4'),
    piwHere('logs'),
  ]);
  t.match(queued, { code: 1, out: '', err: /piw: no build of demo has ended yet: it is in the queue\. / });
  t.match(unknown, { code: 1, err: /there is no package nothing/ });
  t.match(idle, { code: 1, err: /no slave pi4 is building anything/ });
  t.match(misused, { code: 2, err: /--slave needs --follow: piw logs --follow --slave SLAVE/ });
  t.match(unnamed, { code: 2, err: /name a build or a package, or a slave with --follow --slave SLAVE/ });

  const [first, second] = [controlledBuild(), controlledBuild()];
  await testSlave(t, prefix, first.stub);
  await testSlave(t, prefix, second.stub, { hello: slaveHello('forge') });
  await untilSlave(({ state, label }) => state === 'building' && label === 'anvil');
  await untilSlave(({ state, label }) => state === 'building' && label === 'forge');
  const both = await piw('logs', 'demo', '--follow');
  t.equal(both.code, 1);
  t.match(
    both.err,
    /several slaves are building it: demo \S+ for cp311 on (anvil|forge) \(slave \d+\); demo .*; choose one with --slave\. /,
  );
  const anvil = (await slaves()).find(({ label }) => label === 'anvil');
  const skipped = startFollowing(t, settings, 'demo', '--slave', String(anvil?.slave_id));
  await first.write('working');
  await until(() => skipped.text.out.includes('working'));
  await control.request('SKIP', { slave_id: anvil?.slave_id ?? 0 });
  t.equal(await skipped.ended, 1);
  t.match(skipped.text.err, /piw: the build ended without a result, and is queued again\. /);
});

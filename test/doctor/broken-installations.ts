/**
 * Breaks one thing after the other in a sound installation, and runs `piw doctor`: its line must name the fault and a
 * fix. A fix that is a shell command is carried out, any other by hand; then the doctor must be silent again.
 *
 *     node dist/test/doctor/broken-installations.js [--only TEXT]
 *
 * Needs root, because the doctor runs as an ordinary user in a mount namespace of its own; a fault that needs something
 * else that this machine lacks is skipped. Prints each fault with the doctor's line; exits with 1 if any check fails.
 */
import { parseArgs } from 'node:util';
import { ROLES } from '../../src/doctor/check.js';
import { FAULTS, type Fault } from './faults.js';
import { SoundInstallation, type View } from './sound-installation.js';

const { values } = parseArgs({ options: { only: { type: 'string' } } });
/** How often the doctor is asked until what was repaired is at work again. */
const MAX_ATTEMPTS = 40;

interface Line {
  readonly check: string;
  readonly problem: string;
  readonly fix: string;
}

const parseLine = (text: string): Line => {
  const [, check = '', problem = text, fix = ''] = /^([a-z-]+): (.*?)[.?]? Fix: (.*)$/.exec(text) ?? [];
  return { check, problem, fix };
};

/** Waits until the doctor has nothing to say, or only what `remains`. Returns anything else that it says at last. */
async function untilSilent(site: SoundInstallation, role: Fault['role'], remains?: RegExp): Promise<string> {
  for (let attempt = 1; ; attempt += 1) {
    const { code, out, err } = await site.doctor(role);
    const text = `${out}${err}`;
    if (remains === undefined ? text === '' && code === 0 : remains.test(text)) return '';
    if (attempt >= MAX_ATTEMPTS) return `exit ${code}: ${text}`;
  }
}

/** Returns what is wrong with the doctor's answer to this fault. */
async function examineFault(site: SoundInstallation, fault: Fault): Promise<readonly string[]> {
  const wrong: string[] = [];
  const view = ((await fault.break?.(site)) as View | undefined) ?? fault.view ?? {};
  if (fault.settings !== undefined) site.configure(fault.role, fault.settings(site));
  try {
    const { code, out, err } = await site.doctor(fault.role, view);
    const lines = out
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('The rest was not examined'));
    for (const line of lines) console.log(`    ${line}`);
    const [first, ...others] = lines.map(parseLine);
    if (code !== 1) wrong.push(`exit code ${code}`);
    if (err !== '') wrong.push(`on stderr: ${err}`);
    if (first === undefined || !fault.problem.test(`${first.check}: ${first.problem}`))
      wrong.push(`not ${String(fault.problem)}`);
    else if (!fault.fix.test(first.fix)) wrong.push(`the fix is not ${String(fault.fix)}`);
    const expectedOthers = fault.also ?? [];
    if (
      others.length !== expectedOthers.length ||
      !expectedOthers.every((pattern, i) =>
        pattern.test(`${others[i]?.check ?? ''}: ${others[i]?.problem ?? ''}`),
      )
    )
      wrong.push(`${others.length} further lines instead of ${expectedOthers.length}`);
    if (fault.isCommand === true && first !== undefined) {
      const result = await site.shell(first.fix.replace(/, or .*/, ''));
      if (result.code !== 0) wrong.push(`the fix ends with ${result.code}: ${result.out}${result.err}`);
      const rest = await untilSilent(site, fault.role, fault.remains);
      if (rest !== '') wrong.push(`after the fix: ${rest}`);
      else console.log(`    -> carried out; the doctor is silent${fault.remains ? ' about it' : ''}`);
    }
  } finally {
    await fault.restore?.(site);
    if (fault.settings !== undefined) site.configure(fault.role);
  }
  return wrong;
}

async function main(): Promise<number> {
  const site = await SoundInstallation.start(console.log);
  let failures = 0;
  let count = 0;
  let carriedOut = 0;
  const skipped: string[] = [];
  try {
    for (const role of ROLES) {
      const text = await untilSilent(site, role);
      console.log(`${role}: ${text === '' ? 'sound, and the doctor is silent' : `NOT SILENT: ${text}`}`);
      if (text !== '') failures += 1;
    }
    for (const fault of FAULTS) {
      if (values.only !== undefined && !fault.title.includes(values.only)) continue;
      const lacks = fault.lacks?.();
      if (lacks !== undefined) {
        skipped.push(`${fault.title}: ${lacks}`);
        continue;
      }
      count += 1;
      console.log(`${String(count).padStart(3)} ${fault.role}: ${fault.title}`);
      const wrong = [...(await examineFault(site, fault))];
      const rest = fault.view === undefined ? await untilSilent(site, fault.role) : '';
      if (rest !== '') wrong.push(`after the repair: ${rest}`);
      for (const text of wrong) console.log(`    WRONG: ${text}`);
      if (wrong.length > 0) failures += 1;
      else if (fault.isCommand === true) carriedOut += 1;
    }
  } finally {
    await site.stop();
  }
  for (const text of skipped) console.log(`skipped: ${text}`);
  console.log(
    `${count} faults, ${carriedOut} of them repaired by the command that the doctor names; ${failures} wrong, ${skipped.length} skipped`,
  );
  return failures === 0 ? 0 : 1;
}

process.exitCode = await main();

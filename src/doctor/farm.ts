import { listProcesses } from '../actor/list-processes.js';
import { ProtocolClient } from '../actor/client.js';
import { rethrowUnexpected } from '../errors.js';
import type { RegisteredTarget } from '../model/target.js';
import { slaveControl, type SlaveStatus } from '../protocols/control.js';
import { oracle } from '../protocols/oracle.js';
import { isReachable, type Check, type Finding } from './check.js';

const ANSWER_TIMEOUT_MS = 4000;

/** Returns the check that a farm of these tasks is at work, that it builds for something, and that it has slaves. */
export const farmAtWork = (tasks: readonly string[]): Check => ({
  name: 'farm',
  applies: ({ roles }) => roles.has('master'),
  run: async ({ bus }) => {
    if (!(await isReachable(bus))) return [];
    const connection = await bus();
    const processes = await listProcesses(connection, tasks);
    if (processes.length === 0)
      return [
        {
          problem: `no master is running on prefix ${connection.prefix}`,
          fix: 'sudo systemctl start piw-master, or piw master',
        },
      ];
    const missing = tasks.filter(
      (task) => !processes.some((candidate) => candidate.task === task && candidate.working),
    );
    const findings: Finding[] = missing.map((task) => ({
      problem: `no process is at work as ${task}`,
      fix: `look into the master's log for ${task}: journalctl -u piw-master`,
    }));
    const farm = new ProtocolClient(connection, oracle, undefined, { timeoutMs: ANSWER_TIMEOUT_MS });
    const paused = (await orUndefined(farm.request('GETPAUSED', {})))?.tasks ?? [];
    for (const task of paused)
      findings.push({
        problem: task === '*' ? 'the farm is paused' : `${task} is paused`,
        fix: task === '*' ? 'piw resume' : `piw resume ${task}`,
      });
    const driver = new ProtocolClient(connection, slaveControl, undefined, { timeoutMs: ANSWER_TIMEOUT_MS });
    const targets = (await orUndefined(farm.request('GETABIS', {})))?.targets;
    const slaves = (await orUndefined(driver.request('HELLO', {})))?.slaves;
    if (targets !== undefined) findings.push(...targetFindings(targets, slaves ?? []));
    if (slaves?.length === 0)
      findings.push({
        problem: 'no slave is connected, so nothing is built',
        fix: 'piw slaves add NAME, and start piw slave on that machine',
      });
    return findings;
  },
});

/** Returns what is wrong with the registered ABIs, given the slaves that are connected. */
function targetFindings(
  targets: readonly RegisteredTarget[],
  slaves: readonly SlaveStatus[],
): readonly Finding[] {
  const unregistered = slaves.filter(
    ({ abi, platform }) => !targets.some((target) => target.abi === abi && target.platform === platform),
  );
  if (targets.length === 0) {
    const [{ abi, platform } = { abi: 'cp311', platform: 'linux_x86_64' }] = unregistered;
    return [
      {
        problem: 'no ABI is registered, so nothing is built',
        fix: `register those of your slaves, for example: piw abi add ${abi} --platform ${platform}`,
      },
    ];
  }
  const findings: Finding[] = unregistered.map(({ label, abi, platform }) => ({
    problem: `slave ${label} gets no builds: its ABI ${abi} on ${platform} is not registered`,
    fix: `piw abi add ${abi} --platform ${platform}`,
  }));
  if (targets.every(({ skip }) => skip !== null))
    findings.push({
      problem: 'every registered ABI is skipped, so nothing is built',
      fix: targets.map(({ abi, platform }) => `piw abi unskip ${abi} --platform ${platform}`).join(' && '),
    });
  return findings;
}

/** Returns undefined if nobody answers: then a task is missing, which is a finding of its own. */
async function orUndefined<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    rethrowUnexpected(error);
    return undefined;
  }
}

import { listProcesses } from '../actor/list-processes.js';
import { ProtocolClient } from '../actor/client.js';
import { rethrowUnexpected } from '../errors.js';
import { slaveControl } from '../protocols/control.js';
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
    const client = new ProtocolClient(connection, oracle, undefined, { timeoutMs: ANSWER_TIMEOUT_MS });
    const targets = await orUndefined(client.request('GETABIS', {}));
    if (targets?.targets.length === 0)
      findings.push({
        problem: 'no ABI is registered, so nothing is built',
        fix: 'register those of your slaves, for example: piw abi add cp311 --platform linux_x86_64',
      });
    const driver = new ProtocolClient(connection, slaveControl, undefined, { timeoutMs: ANSWER_TIMEOUT_MS });
    const slaves = await orUndefined(driver.request('HELLO', {}));
    if (slaves?.slaves.length === 0)
      findings.push({
        problem: 'no slave is connected, so nothing is built',
        fix: 'piw slaves add NAME, and start piw slave on that machine',
      });
    return findings;
  },
});

/** Returns undefined if nobody answers: then a task is missing, which is a finding of its own. */
async function orUndefined<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    rethrowUnexpected(error);
    return undefined;
  }
}

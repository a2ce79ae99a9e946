import { Args } from '@oclif/core';
import { ProtocolClient } from '../actor/client.js';
import { PiwError } from '../errors.js';
import { oracle } from '../protocols/oracle.js';
import type { QueueLength, QueuedVersion } from '../model/queue.js';
import { parsePackageName } from './administer.js';
import { EXIT_CODES, PiwCommand, natsFlags } from './base.js';
import { stripControlCharacters, formatTable } from '../monitor/table.js';
import { formatCount, formatQuantity } from '../units.js';

const PRIORITY_NAMES = ['backlog', 'new releases', 'requests'];

export default class Queue extends PiwCommand {
  static override summary = 'Show the build queue, or where each version of a package stands and why.';
  static override description = `Without a package, shows how many builds are waiting for each ABI, by
priority, and the rate at which builds finish. For a very large queue the
count may be an estimate or some minutes old; the output says so.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> queue',
    '<%= config.bin %> queue numpy',
    '<%= config.bin %> queue numpy --json',
  ];
  static override args = {
    package: Args.string({ ignoreStdin: true, description: 'package to show' }),
  };
  static override flags = {
    ...natsFlags,
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(Queue);
    const name = args.package === undefined ? undefined : parsePackageName(args.package);
    const bus = await this.connect(this.settings(flags));
    try {
      const oracleClient = new ProtocolClient(bus, oracle, undefined, { timeoutMs: 10_000 });
      return name === undefined
        ? await this.#showQueue(oracleClient)
        : await this.#showPackage(oracleClient, name);
    } finally {
      await bus.drain();
    }
  }

  async #showQueue(oracleClient: ProtocolClient<typeof oracle.verbs>) {
    const { lengths, estimated, age_s, building, held, last_hour, last_minute } = await oracleClient.request(
      'QUEUE',
      {},
    );
    const waiting = lengths.reduce((sum, [, , , count]) => sum + count, 0);
    if (lengths.length === 0) this.log('The queue is empty.');
    else this.log(lengthTable(lengths).join('\n'));
    this.log(
      `${estimated ? 'About ' : ''}${formatCount(waiting)} waiting, ${formatCount(building)} in progress; ` +
        `${formatCount(last_minute)} finished in the last minute, ${formatCount(last_hour)} in the last hour.`,
    );
    if (held > 0) this.log(`${formatQuantity(held, 'build is', 'builds are')} held back for a later retry.`);
    if (age_s > 10) this.log(`The count is ${Math.round(age_s)} s old.`);
    return {
      queue: lengths.map(([abi, platform, priority, count, oldest]) => ({
        abi,
        platform,
        priority: PRIORITY_NAMES[priority] ?? String(priority),
        waiting: count,
        oldest: oldest === null ? null : new Date(oldest).toISOString(),
      })),
      waiting,
      estimated,
      building,
      held,
      last_minute,
      last_hour,
      age_s,
    };
  }

  async #showPackage(oracleClient: ProtocolClient<typeof oracle.verbs>, name: string) {
    const { exists, versions } = await oracleClient.request('QUEUEPKG', { package: name });
    if (!exists) throw new PiwError('PIW_UNKNOWN_PACKAGE', `there is no package ${name}`);
    if (versions.length === 0) this.log(`${name} has no versions.`);
    else this.log(versionTable(versions).join('\n'));
    return {
      package: name,
      versions: versions.map(([version, abi, platform, state, position, why]) => ({
        version,
        abi,
        platform,
        state,
        position,
        why,
      })),
    };
  }
}

function lengthTable(lengths: readonly QueueLength[]): readonly string[] {
  const rows = lengths.map(([abi, platform, priority, count, oldest]) => [
    ...[abi, platform, PRIORITY_NAMES[priority] ?? '', formatCount(count)],
    oldest === null ? '' : new Date(oldest).toISOString().slice(0, 10),
  ]);
  return formatTable([['ABI', 'platform', 'priority', 'waiting', 'oldest release'], ...rows], 3);
}

function versionTable(versions: readonly QueuedVersion[]): readonly string[] {
  const platforms = new Set(versions.map(([, , platform]) => platform));
  const rows = versions.map(([version, abi, platform, state, position, why]) => [
    version,
    platforms.size > 1 ? `${abi} ${platform}` : abi,
    state === 'none' ? '-' : state,
    [
      ...(position === null ? [] : [`position ${formatCount(position)}`]),
      ...(why === '' ? [] : [stripControlCharacters(why)]),
    ].join(', '),
  ]);
  return formatTable([['version', 'ABI', 'state', ''], ...rows]);
}

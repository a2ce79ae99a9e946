import { CAST } from '../../actors/cast.js';
import { listProcesses, type TaskProcess } from '../actor/list-processes.js';
import { PiwError } from '../errors.js';
import { formatConditions, formatRows, statisticsRows, type FigureRow } from '../monitor/figures.js';
import type { Condition } from '../protocols/conditions.js';
import type { Statistics } from '../protocols/statistics.js';
import { EXIT_CODES, PiwCommand, natsFlags } from './base.js';
import { fetchPausedTasks } from './control.js';
import { fetchConditions, fetchStatistics, nullIfUnanswered } from './status/figures.js';
import { formatQuantity } from '../units.js';

/** The kinds of conditions about tasks that are not at work. */
const MISSING_TASK_KINDS = ['no-leader', 'not-running'];

interface TaskStatus {
  readonly task: string;
  /** Processes at work, and those that stand by. */
  readonly working: number;
  readonly standby: number;
  readonly hosts: readonly string[];
  readonly paused: boolean;
}

export default class Status extends PiwCommand {
  static override summary = 'Show at a glance how the farm is, and whether something needs a hand.';
  static override description = `Exits with 0 if all is well, with 1 if a task is missing or something else
keeps part of the farm from its work, and with 5 if no farm answers: for cron
and monitoring. It listens for two seconds for the processes of the farm.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> status',
    '<%= config.bin %> status --json',
    '<%= config.bin %> status -q > /dev/null || echo "look after the farm"',
  ];
  static override flags = { ...natsFlags };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { flags } = await this.parse(Status);
    const bus = await this.connect(this.settings(flags));
    try {
      const [processes, statistics, reported, paused] = await Promise.all([
        listProcesses(
          bus,
          CAST.map(({ task }) => task),
        ),
        fetchStatistics(bus),
        fetchConditions(bus),
        fetchPausedTasks(bus).catch(nullIfUnanswered),
      ]);
      if (processes.length === 0 && statistics === null)
        throw new PiwError('PIW_NO_RESPONDERS', `no process of a farm answers on prefix ${bus.prefix}`);
      const tasks = CAST.map(({ task, pausing }) => ({
        ...summarize(task, processes),
        paused: pausing !== 'ignores' && [task, '*'].some((name) => paused?.includes(name)),
      }));
      const missing = tasks.filter(({ working }) => working === 0).map(({ task }) => task);
      const conditions = (reported ?? []).filter(
        ({ kind, subject }) => !(MISSING_TASK_KINDS.includes(kind) && missing.includes(subject)),
      );
      const ok = missing.length === 0 && conditions.length === 0 && statistics !== null;
      this.#print({ tasks, missing, conditions, statistics, processes });
      if (!ok) process.exitCode = 1;
      return { ok, missing, conditions, tasks, statistics };
    } finally {
      await bus.drain();
    }
  }

  #print({
    tasks,
    missing,
    conditions,
    statistics,
    processes,
  }: {
    readonly tasks: readonly TaskStatus[];
    readonly missing: readonly string[];
    readonly conditions: readonly Condition[];
    readonly statistics: Statistics | null;
    readonly processes: readonly TaskProcess[];
  }): void {
    const now = Date.now();
    for (const task of missing) this.log(`! ${task} is not at work`);
    for (const line of formatConditions(conditions, now)) this.log(line);
    if (statistics === null) this.log('! no statistics: Big Brother or the database does not answer');
    const paused = tasks.filter((task) => task.paused).map(({ task }) => task);
    if (missing.length + conditions.length === 0 && statistics !== null)
      this.log(
        paused.length === 0
          ? 'All is well.'
          : `All is well, but ${formatQuantity(paused.length, 'task is', 'tasks are')} paused: see piw resume.`,
      );
    this.log('');
    const hosts = new Set(processes.map(({ host }) => host));
    const rows: FigureRow[] = [
      [
        'tasks',
        `${tasks.length - missing.length} of ${tasks.length} at work, ${formatQuantity(processes.length, 'process', 'processes')} on ${[...hosts].join(', ')}`,
      ],
    ];
    if (paused.length > 0) rows.push(['paused', paused.join(', ')]);
    if (statistics !== null) {
      const slaves = statistics.slaves.map(([state, count]) => `${count} ${state}`);
      rows.push(['slaves', slaves.length === 0 ? 'none has connected' : slaves.join(', ')]);
      rows.push(...statisticsRows(statistics, now));
    }
    for (const line of formatRows(rows)) this.log(line);
  }
}

function summarize(task: string, processes: readonly TaskProcess[]): Omit<TaskStatus, 'paused'> {
  const ofTask = processes.filter((candidate) => candidate.task === task);
  const working = ofTask.filter((candidate) => candidate.working).length;
  return {
    task,
    working,
    standby: ofTask.length - working,
    hosts: [...new Set(ofTask.map(({ host }) => host))].sort(),
  };
}

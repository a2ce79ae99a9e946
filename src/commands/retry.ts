import { Args, Flags } from '@oclif/core';
import { formatQuantity, parseDuration } from '../units.js';
import { PiwError } from '../errors.js';
import type { FailedBuild, FailureFilter } from '../protocols/retry.js';
import { FAILURES } from '../failures/classes.js';
import { ShortText, Tag, Time, Version } from '../model/fields.js';
import { checkArguments, createChaseClient, parsePackageName, type ChaseClient } from './administer.js';
import { EXIT_CODES, PiwCommand, natsFlags } from './base.js';
import { confirm } from './confirm.js';
import { formatTable } from '../monitor/table.js';

/** What a run has requeued or, in a dry run, would requeue. */
interface RetrySummary {
  readonly total: number;
  readonly classes: Readonly<Record<string, number>>;
  readonly examples: readonly FailedBuild[];
}

const MAX_EXAMPLES = 5;
/** Minimum time between two progress lines, milliseconds. */
const PROGRESS_INTERVAL_MS = 1000;

export default class Retry extends PiwCommand {
  static override summary = 'Requeue failed builds.';
  static override description = `A build must match all conditions that you give. Only builds that failed for
good are requeued: the newest attempt failed, no wheel serves the version, and
the version may be built. Old builds keep their page and their log. Requeued
builds wait in the backlog, behind requests and new releases. A
second run requeues nothing until builds have failed again.

A TIME is an ISO 8601 date or time (2026-11-30 or 2026-11-30T14:00Z; local
time if it has no zone), or an age: 90m, 3h, 2d. Regular expressions are
PostgreSQL's; (?i) at the beginning ignores case.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> retry --slave pi4 --since 2h --dry-run',
    '<%= config.bin %> retry --class compiler --class other --since 2026-11-30 --until 2026-12-01',
    '<%= config.bin %> retry --text "libffi" --abi cp311 --yes',
    '<%= config.bin %> retry --text "error: .*-Werror" --regexp',
    '<%= config.bin %> retry numpy 1.26.4',
    '<%= config.bin %> retry --all',
  ];
  static override args = {
    package: Args.string({ ignoreStdin: true, description: 'only builds of this package' }),
    version: Args.string({ ignoreStdin: true, description: 'only builds of this version of the package' }),
  };
  static override flags = {
    class: Flags.string({
      multiple: true,
      multipleNonGreedy: true,
      helpValue: 'CLASS',
      options: Object.keys(FAILURES),
      description: 'only builds with this class of failure; can be repeated',
    }),
    slave: Flags.string({
      helpValue: 'SLAVE',
      description: 'only builds of this slave, given by its number, user name or label',
    }),
    since: Flags.string({ helpValue: 'TIME', description: 'only builds that ended at or after this time' }),
    until: Flags.string({ helpValue: 'TIME', description: 'only builds that ended before this time' }),
    abi: Flags.string({ helpValue: 'ABI', description: 'only builds for this ABI' }),
    platform: Flags.string({ helpValue: 'PLATFORM', description: 'only builds for this platform' }),
    text: Flags.string({ helpValue: 'TEXT', description: 'only builds whose log contains this text' }),
    regexp: Flags.boolean({
      default: false,
      description: 'interpret --text as a regular expression',
    }),
    all: Flags.boolean({ default: false, description: 'all failed builds of the farm' }),
    'dry-run': Flags.boolean({
      default: false,
      char: 'n',
      description: 'only show how many builds would be requeued, by class, with some examples',
    }),
    yes: Flags.boolean({ default: false, char: 'y', description: 'do not ask for confirmation' }),
    ...natsFlags,
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(Retry);
    const now = Date.now();
    const filter: FailureFilter = {
      package: args.package === undefined ? null : parsePackageName(args.package),
      version: args.version ?? null,
      classes: flags.class ?? [],
      slave: flags.slave ?? null,
      since: flags.since === undefined ? null : parseTime('since', flags.since, now),
      until: flags.until === undefined ? null : parseTime('until', flags.until, now),
      abi: flags.abi ?? null,
      platform: flags.platform ?? null,
      text: flags.text ?? null,
      regexp: flags.regexp,
    };
    const { regexp, classes, ...conditions } = filter;
    if (regexp && filter.text === null) throw new PiwError('PIW_USAGE', '--regexp requires --text');
    const hasConditions = classes.length > 0 || Object.values(conditions).some((value) => value !== null);
    if (hasConditions === flags.all)
      throw new PiwError(
        'PIW_USAGE',
        'select builds by a package or an option, or pass --all for every failed build, but not both',
      );
    if (filter.text === '') throw new PiwError('PIW_USAGE', '--text must not be empty');
    checkArguments(
      ['VERSION', Version, filter.version],
      ['--slave', ShortText, filter.slave],
      ['--since', Time, filter.since],
      ['--until', Time, filter.until],
      ['--abi', Tag, filter.abi],
      ['--platform', Tag, filter.platform],
      ['--text', ShortText, filter.text],
    );
    const dryRun = flags['dry-run'];
    const bus = await this.connect(this.settings(flags));
    try {
      const chaseClient = createChaseClient(bus);
      if (dryRun || !flags.yes) {
        const preview = await this.#requestAllPages(chaseClient, filter, true);
        this.#printSummary(preview, dryRun ? 'would be requeued' : 'will be requeued');
        if (dryRun) return { ...toJsonResult(preview), dry_run: true };
        if (preview.total === 0) return { ...toJsonResult(preview), dry_run: false };
        if (!(await confirm(`Put ${formatBuildCount(preview.total)} back into the queue?`)))
          throw new PiwError('PIW_UNCONFIRMED', 'nothing was requeued');
      }
      const done = await this.#requestAllPages(chaseClient, filter, false);
      this.#printSummary(
        done,
        done.total === 1 ? 'is back in the queue' : 'are back in the queue',
        flags.yes,
      );
      return { ...toJsonResult(done), dry_run: false };
    } finally {
      await bus.drain();
    }
  }

  /** Requests page after page, up to the last build that had ended at the first request. */
  async #requestAllPages(
    chaseClient: ChaseClient,
    filter: FailureFilter,
    dryRun: boolean,
  ): Promise<RetrySummary> {
    const classes: Record<string, number> = {};
    const examples: FailedBuild[] = [];
    let total = 0;
    let lastShownAt = performance.now();
    let upto: number | null = null;
    for (let after: number | null = 0; after !== null;) {
      const page: Awaited<ReturnType<typeof requestPage>> = await requestPage(chaseClient, {
        filter,
        dry_run: dryRun,
        after,
        upto,
      });
      for (const [failureClass, count] of page.classes) {
        classes[failureClass] = (classes[failureClass] ?? 0) + count;
        total += count;
      }
      examples.push(...page.examples.slice(0, MAX_EXAMPLES - examples.length));
      upto = page.upto;
      after = page.next;
      if (after === null || performance.now() - lastShownAt < PROGRESS_INTERVAL_MS) continue;
      lastShownAt = performance.now();
      const share = upto === 0 ? 100 : Math.floor((after / upto) * 100);
      process.stderr.write(
        `${formatBuildCount(total)} ${dryRun ? 'found' : 'requeued'}, ${share} % searched\n`,
      );
    }
    return { total, classes, examples };
  }

  #printSummary({ total, classes, examples }: RetrySummary, verbPhrase: string, details = true): void {
    this.log(
      `${total === 0 ? 'No failed build' : formatBuildCount(total)} ${total === 0 ? 'matches' : verbPhrase}.`,
    );
    if (total === 0 || !details) return;
    const rows = Object.entries(classes).sort(([, a], [, b]) => b - a);
    for (const row of formatTable(
      rows.map(([name, count]) => [`  ${name}`, count.toLocaleString('en')]),
      1,
    ))
      this.log(row);
    this.log('For example:');
    const exampleRows = examples.map(([id, name, version, abi, platform, failureClass, ended]) => [
      ...[`  ${name} ${version}`, `${abi} ${platform}`, failureClass ?? 'other', `build ${id}`],
      new Date(ended).toISOString().slice(0, 16).replace('T', ' '),
    ]);
    for (const row of formatTable(exampleRows)) this.log(row);
  }
}

const requestPage = (chaseClient: ChaseClient, request: Parameters<typeof chaseClient.request<'RETRY'>>[1]) =>
  chaseClient.request('RETRY', request);

/** Returns the time in ms since 1970 that `input` states, as a time or as an age. Throws PIW_USAGE. */
function parseTime(option: string, input: string, now: number): number {
  const seconds = parseDuration(input);
  // Four digits are a year of ISO 8601, not a number of seconds.
  if (seconds !== undefined && !/^\d{4}$/.test(input)) return Math.max(0, now - seconds * 1000);
  const time = /^\d{4}(-\d\d(-\d\d)?)?/.test(input) ? Date.parse(localDate(input)) : NaN;
  if (Number.isNaN(time) || time < 0)
    throw new PiwError(
      'PIW_USAGE',
      `--${option} "${input}": must be a time such as 2026-11-30, 2026-11-30T14:00Z, 90m, 3h or 2d`,
    );
  return time;
}

/** Makes a date local: JavaScript interprets a date without a time as UTC, but a time without a zone as local. */
const localDate = (input: string): string => (/^\d{4}-\d\d-\d\d$/.test(input) ? `${input}T00:00` : input);

const formatBuildCount = (count: number): string => formatQuantity(count, 'build');

const toJsonResult = ({ total, classes, examples }: RetrySummary) => ({
  builds: total,
  classes,
  examples: examples.map(([build_id, name, version, abi, platform, failure_class, ended]) => ({
    build_id,
    package: name,
    version,
    abi,
    platform,
    failure_class,
    ended: new Date(ended).toISOString(),
  })),
});

import { Args, Flags } from '@oclif/core';
import { parseDuration } from '../config.js';
import { PiwError } from '../errors.js';
import type { Fault } from '../site/check/faults.js';
import { checkOutput, type CheckOptions, type Checked } from '../site/check/output.js';
import { RULES, isWarning, type RuleId } from '../site/check/rules.js';
import type { Which } from '../site/check/sample.js';
import { checkServed } from '../site/check/served.js';
import { packageName } from './administer.js';
import { EXIT_CODES, PiwCommand, untilSignal } from './base.js';
import { table } from '../monitor/table.js';

/** What looks wrong is looked at again after these, milliseconds: a page takes a moment, the root ten seconds. */
const WAITS = [500, 3000, 12_000];
const PROGRESS_MS = 500;

export default class Check extends PiwCommand {
  static override summary = 'Hold every rule of an index against an output path, or against a server.';
  static override description = `Walks an output path, also while the farm is writing it: what looks wrong is looked at again before it is
called a fault. An address is read as a client reads it, which also shows what only a server does: types,
redirects, ETags, ranges, compressed answers. Each fault is a line: the rule, where, what is there, and what
was expected. A warning harms no client, and is no fault.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> check',
    '<%= config.bin %> check /var/www/piwheels --no-hashes',
    '<%= config.bin %> check https://farm.example/ --sample 100',
    '<%= config.bin %> check --package numpy --package six --json',
    '<%= config.bin %> check --rules',
  ];
  static override args = {
    path: Args.string({
      ignoreStdin: true,
      description: 'an output path (if it isn’t given, the one of the configuration) or an http address',
    }),
  };
  static override flags = {
    package: Flags.string({
      char: 'p',
      multiple: true,
      helpValue: 'NAME',
      exclusive: ['sample'],
      description: 'only this package; can be repeated',
    }),
    sample: Flags.integer({ min: 1, description: 'only so many packages, at random' }),
    hashes: Flags.boolean({
      default: true,
      allowNo: true,
      description: 'read wheels and logs, and not only their sizes',
    }),
    still: Flags.boolean({
      default: false,
      description: 'nobody is writing: judge at first sight, and call young files left behind, too',
    }),
    settle: Flags.string({
      default: '5m',
      helpValue: 'DURATION',
      description: 'what is younger than this may still be on its way, and isn’t called left behind',
    }),
    most: Flags.integer({
      default: 100,
      min: 1,
      description: 'show so many faults of each rule, and count the others',
    }),
    rules: Flags.boolean({ default: false, description: 'print the rules, and where they come from' }),
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(Check);
    if (flags.rules) return this.#rules();
    const settle = parseDuration(flags.settle);
    if (settle === undefined)
      throw new PiwError('PIW_USAGE', `${flags.settle} is no duration; write it as 90m or 45s`);
    const target = args.path ?? this.settings(flags)['output-path'];
    const progress = new Progress(!flags.json && !flags.quiet && process.stderr.isTTY);
    const found = new Found(flags.most, (fault) => {
      progress.clear();
      this.log(line(fault));
    });
    const options: CheckOptions = {
      which: which(flags),
      whole: flags.hashes,
      waits: flags.still ? [] : WAITS,
      settleMs: flags.still ? 0 : settle * 1000,
      report: (fault) => {
        found.add(fault);
      },
      progress: (done, of) => {
        progress.show(done, of, found.faults);
      },
      signal: untilSignal(),
    };
    const checked = await this.#check(target, options);
    progress.clear();
    for (const said of found.summary(checked)) this.log(said);
    if (found.faults > 0) process.exitCode = 1;
    return {
      checked: target,
      ...checked,
      faults: found.faults,
      warnings: found.warnings,
      by_rule: found.counts,
      found: found.shown,
    };
  }

  async #check(target: string, options: CheckOptions): Promise<Checked> {
    try {
      return /^https?:\/\//i.test(target)
        ? await checkServed(target, options)
        : await checkOutput(target, options);
    } catch (error) {
      if (options.signal?.aborted) throw new PiwError('PIW_INTERRUPTED', 'not everything was checked');
      throw error;
    }
  }

  #rules(): unknown {
    const all = Object.entries(RULES).map(([rule, { level, says, source }]) => ({
      rule,
      level,
      says,
      source,
    }));
    const rows = all.map(({ rule, level, says, source }) => [rule, level, source, says]);
    this.log(table([['rule', 'level', 'source', 'what it says'], ...rows]).join('\n'));
    return all;
  }
}

function which({
  package: names,
  sample,
}: {
  package?: string[] | undefined;
  sample?: number | undefined;
}): Which {
  if (names) return { kind: 'names', names: names.map((name) => packageName(name)) };
  return sample === undefined ? { kind: 'all' } : { kind: 'sample', size: sample };
}

const line = ({ rule, path, found, expected }: Fault): string =>
  `${isWarning(rule) ? 'warning: ' : ''}${rule}: ${path}: ${found}; expected: ${expected}`;

/** What was found: all of it counted, and so much of each rule kept as is shown. */
class Found {
  readonly shown: Fault[] = [];
  readonly counts: Partial<Record<RuleId, number>> = {};
  faults = 0;
  warnings = 0;
  readonly #most: number;
  readonly #show: (fault: Fault) => void;

  constructor(most: number, show: (fault: Fault) => void) {
    this.#most = most;
    this.#show = show;
  }

  add(fault: Fault): void {
    const count = (this.counts[fault.rule] ?? 0) + 1;
    this.counts[fault.rule] = count;
    if (isWarning(fault.rule)) this.warnings += 1;
    else this.faults += 1;
    if (count > this.#most) return;
    this.shown.push(fault);
    this.#show(fault);
  }

  summary({ projects, units, unsettled }: Checked): readonly string[] {
    const more = Object.entries(this.counts).filter(([, count]) => count > this.#most);
    return [
      ...more.map(([rule, count]) => `${rule}: ${number(count - this.#most)} more`),
      ...(unsettled > 0 ? [`${number(unsettled)} could not be judged: they were written all the time`] : []),
      `${number(projects)} packages and ${number(units)} things in all: ` +
        `${number(this.faults)} faults, ${number(this.warnings)} warnings.`,
    ];
  }
}

/** A line on the terminal that is written over. */
class Progress {
  readonly #on: boolean;
  #last = 0;
  #width = 0;

  constructor(on: boolean) {
    this.#on = on;
  }

  show(done: number, of: number, faults: number): void {
    const now = performance.now();
    if (!this.#on || now - this.#last < PROGRESS_MS) return;
    this.#last = now;
    const said = `${number(done)} of ${number(of)} packages, ${number(faults)} faults`;
    process.stderr.write(`\r${said.padEnd(this.#width)}`);
    this.#width = said.length;
  }

  clear(): void {
    if (this.#width > 0) process.stderr.write(`\r${' '.repeat(this.#width)}\r`);
    this.#width = 0;
  }
}

const number = (count: number): string => count.toLocaleString('en');

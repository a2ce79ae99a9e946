import { Args, Flags } from '@oclif/core';
import { parseDuration } from '../config.js';
import { PiwError } from '../errors.js';
import type { Fault } from '../site/check/faults.js';
import { checkOutput, type CheckOptions, type CheckResult } from '../site/check/output.js';
import { RULES, isWarning, type RuleId } from '../site/check/rules.js';
import type { ProjectSelection } from '../site/check/sample.js';
import { checkServed } from '../site/check/served.js';
import { parsePackageName } from './administer.js';
import { EXIT_CODES, PiwCommand, createShutdownSignal } from './base.js';
import { formatTable } from '../monitor/table.js';

/** What looks wrong is looked at again after these, milliseconds: a page takes a moment, the root ten seconds. */
const RECHECK_DELAYS_MS = [500, 3000, 12_000];
const PROGRESS_INTERVAL_MS = 500;

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
    if (flags.rules) return this.#printRules();
    const settle = parseDuration(flags.settle);
    if (settle === undefined)
      throw new PiwError('PIW_USAGE', `${flags.settle} is no duration; write it as 90m or 45s`);
    const target = args.path ?? this.settings(flags)['output-path'];
    const progress = new ProgressLine(!flags.json && !flags.quiet && process.stderr.isTTY);
    const faultReport = new FaultReport(flags.most, (fault) => {
      progress.clear();
      this.log(formatFault(fault));
    });
    const options: CheckOptions = {
      selection: selectPackages(flags),
      readContents: flags.hashes,
      recheckDelaysMs: flags.still ? [] : RECHECK_DELAYS_MS,
      settleMs: flags.still ? 0 : settle * 1000,
      report: (fault) => {
        faultReport.add(fault);
      },
      progress: (done, of) => {
        progress.show(done, of, faultReport.faultCount);
      },
      signal: createShutdownSignal(),
    };
    const checked = await this.#check(target, options);
    progress.clear();
    for (const said of faultReport.summary(checked)) this.log(said);
    if (faultReport.faultCount > 0) process.exitCode = 1;
    return {
      checked: target,
      ...checked,
      faults: faultReport.faultCount,
      warnings: faultReport.warningCount,
      by_rule: faultReport.counts,
      found: faultReport.shown,
    };
  }

  async #check(target: string, options: CheckOptions): Promise<CheckResult> {
    try {
      return /^https?:\/\//i.test(target)
        ? await checkServed(target, options)
        : await checkOutput(target, options);
    } catch (error) {
      if (options.signal?.aborted) throw new PiwError('PIW_INTERRUPTED', 'not everything was checked');
      throw error;
    }
  }

  #printRules(): unknown {
    const rules = Object.entries(RULES).map(([rule, { level, says, source }]) => ({
      rule,
      level,
      says,
      source,
    }));
    const rows = rules.map(({ rule, level, says, source }) => [rule, level, source, says]);
    this.log(formatTable([['rule', 'level', 'source', 'what it says'], ...rows]).join('\n'));
    return rules;
  }
}

function selectPackages({
  package: names,
  sample,
}: {
  package?: string[] | undefined;
  sample?: number | undefined;
}): ProjectSelection {
  if (names) return { kind: 'names', names: names.map((name) => parsePackageName(name)) };
  return sample === undefined ? { kind: 'all' } : { kind: 'sample', size: sample };
}

const formatFault = ({ rule, path, found, expected }: Fault): string =>
  `${isWarning(rule) ? 'warning: ' : ''}${rule}: ${path}: ${found}; expected: ${expected}`;

/** What was found: all of it counted, and so much of each rule kept as is shown. */
class FaultReport {
  readonly shown: Fault[] = [];
  readonly counts: Partial<Record<RuleId, number>> = {};
  faultCount = 0;
  warningCount = 0;
  readonly #limitPerRule: number;
  readonly #print: (fault: Fault) => void;

  constructor(limitPerRule: number, print: (fault: Fault) => void) {
    this.#limitPerRule = limitPerRule;
    this.#print = print;
  }

  add(fault: Fault): void {
    const count = (this.counts[fault.rule] ?? 0) + 1;
    this.counts[fault.rule] = count;
    if (isWarning(fault.rule)) this.warningCount += 1;
    else this.faultCount += 1;
    if (count > this.#limitPerRule) return;
    this.shown.push(fault);
    this.#print(fault);
  }

  summary({ projects, units, unsettled }: CheckResult): readonly string[] {
    const more = Object.entries(this.counts).filter(([, count]) => count > this.#limitPerRule);
    return [
      ...more.map(([rule, count]) => `${rule}: ${formatCount(count - this.#limitPerRule)} more`),
      ...(unsettled > 0
        ? [`${formatCount(unsettled)} could not be judged: they were written all the time`]
        : []),
      `${formatCount(projects)} packages and ${formatCount(units)} things in all: ` +
        `${formatCount(this.faultCount)} faults, ${formatCount(this.warningCount)} warnings.`,
    ];
  }
}

/** A line on the terminal that is written over. */
class ProgressLine {
  readonly #enabled: boolean;
  #lastShownAt = 0;
  #width = 0;

  constructor(enabled: boolean) {
    this.#enabled = enabled;
  }

  show(done: number, of: number, faults: number): void {
    const now = performance.now();
    if (!this.#enabled || now - this.#lastShownAt < PROGRESS_INTERVAL_MS) return;
    this.#lastShownAt = now;
    const said = `${formatCount(done)} of ${formatCount(of)} packages, ${formatCount(faults)} faults`;
    process.stderr.write(`\r${said.padEnd(this.#width)}`);
    this.#width = said.length;
  }

  clear(): void {
    if (this.#width > 0) process.stderr.write(`\r${' '.repeat(this.#width)}\r`);
    this.#width = 0;
  }
}

const formatCount = (count: number): string => count.toLocaleString('en');

import { Args, Flags } from '@oclif/core';
import { formatCount, formatQuantity, parseDuration } from '../units.js';
import { PiwError } from '../errors.js';
import type { Fault } from '../check/faults.js';
import { checkOutput, type CheckOptions, type CheckResult } from '../check/output.js';
import { RULES, isWarning, type RuleId } from '../check/rules.js';
import type { ProjectSelection } from '../check/sample.js';
import { checkServed } from '../check/served.js';
import { parsePackageName } from './administer.js';
import { EXIT_CODES, PiwCommand, createShutdownSignal } from './base.js';
import { formatTable } from '../monitor/table.js';
import { ProgressLine } from './progress-line.js';

/** Delays before a suspected fault is checked again, ms: a page is rewritten in a moment, the root within ten seconds. */
const RECHECK_DELAYS_MS = [500, 3000, 12_000];

export default class Check extends PiwCommand {
  static override summary = 'Check an output path or a web server against all rules for an index.';
  static override description = `An output path can be checked while the farm writes to it: a suspected fault
is checked again before it is reported. A web server is read as installers
read it, which also covers what only a server does: content types, redirects,
ETags, ranges and compressed responses.

Each fault is one line: the rule, the path, what was found and what was
expected. A warning is not a fault, because it harms no client.

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
      description: 'output path, or http or https URL of a site (default: the configured output-path)',
    }),
  };
  static override flags = {
    package: Flags.string({
      char: 'p',
      multiple: true,
      multipleNonGreedy: true,
      helpValue: 'NAME',
      exclusive: ['sample'],
      description: 'check only this package; can be repeated',
    }),
    sample: Flags.integer({
      min: 1,
      helpValue: 'NUMBER',
      description: 'check only this many packages, chosen at random',
    }),
    hashes: Flags.boolean({
      default: true,
      allowNo: true,
      description: 'read the contents of wheels and logs; with --no-hashes, check only their sizes',
    }),
    still: Flags.boolean({
      default: false,
      description: 'assume that nothing is writing to the output path: report at once, and ignore --settle',
    }),
    settle: Flags.string({
      default: '5m',
      helpValue: 'DURATION',
      description: 'do not report unlisted files younger than this: a build may be about to list them',
    }),
    most: Flags.integer({
      default: 100,
      min: 1,
      helpValue: 'NUMBER',
      description: 'show at most this many faults of each rule, and count the rest',
    }),
    rules: Flags.boolean({ default: false, description: 'list the rules and their sources, and exit' }),
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(Check);
    if (flags.rules) return this.#printRules();
    const settle = parseDuration(flags.settle);
    if (settle === undefined)
      throw new PiwError('PIW_USAGE', `--settle "${flags.settle}": must be a duration such as 90m or 45s`);
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
        progress.show(
          () =>
            `${formatCount(done)} of ${formatQuantity(of, 'package')}, ${formatQuantity(faultReport.faultCount, 'fault')}`,
        );
      },
      signal: createShutdownSignal(),
    };
    const checked = await this.#check(target, options);
    progress.clear();
    for (const line of faultReport.summary(checked)) this.log(line);
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
      if (options.signal?.aborted)
        throw new PiwError('PIW_INTERRUPTED', 'interrupted before everything was checked');
      throw error;
    }
  }

  #printRules() {
    const rules = Object.entries(RULES).map(([rule, { level, says, source }]) => ({
      rule,
      level,
      says,
      source,
    }));
    const rows = rules.map(({ rule, level, says, source }) => [rule, level, source, says]);
    this.log(formatTable([['rule', 'level', 'source', 'description'], ...rows]).join('\n'));
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

/** Counts all faults, and prints and keeps up to `limitPerRule` of each rule. */
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
        ? [`${formatQuantity(unsettled, 'item')} could not be checked: the farm kept changing what they list`]
        : []),
      `Checked ${formatQuantity(projects, 'package')}, ${formatQuantity(units, 'item')}: ` +
        `${formatQuantity(this.faultCount, 'fault')}, ${formatQuantity(this.warningCount, 'warning')}.`,
    ];
  }
}

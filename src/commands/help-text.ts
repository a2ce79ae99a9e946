import type { Command } from '@oclif/core';
import { EXIT_CODE_MEANINGS } from '../errors.js';
import { PiwCommand } from './base.js';
import { valueName, type OptionDefinition } from './option-definition.js';

/** A term and what it means, as one row of a list. */
export type Row = readonly [term: string, meaning: string];

type NamedOption = readonly [name: string, option: OptionDefinition];

const WIDTH = 80;
/** A term that is longer than this has its meaning on the next line. */
const MAX_TERM_WIDTH = 26;
const COMMON = 'COMMON OPTIONS';

const JSON_OPTION: OptionDefinition = { type: 'boolean', description: 'print JSON' };

/** Returns the help of a command, at most 80 columns wide; `name` is as the user types it: `abi add`. */
export function commandHelp(name: string, command: Command.Class): string {
  const args = Object.entries(command.args);
  const terms = argumentTerms(command);
  const { summary = '', description = '', examples } = command;
  const options = allOptions(command);
  return joinSections([
    wrap(summary),
    section('USAGE', wrap(`piw ${[name, ...terms, ...requiredOptions(options)].join(' ')} [OPTIONS]`, 2)),
    section('ARGUMENTS', list(args.map(([, { description: text = '' }], i) => [terms[i] ?? '', text]))),
    ...optionSections(options).map(([heading, rows]) => section(heading, list(rows))),
    section('DESCRIPTION', wrap(description, 2)),
    section('EXAMPLES', exampleLines(examples).join('\n')),
  ]);
}

/** Returns how the arguments of a command are written: `[PACKAGE]`. */
export const argumentTerms = ({ args, strict }: Command.Class): readonly string[] =>
  Object.entries(args).map(([name, { required }]) => argumentTerm(name, required === true, strict));

/** Returns how the options are written that a command line must have. */
export const requiredOptions = (options: readonly NamedOption[]): readonly string[] =>
  options
    .filter(([, { required }]) => required === true)
    .map(([name, definition]) => `--${name}${valueOf(definition)}`);

/** Returns the help of the commands whose names begin with `topic`. */
export const topicHelp = (topic: string, description: string, commands: readonly Row[]): string =>
  joinSections([
    wrap(description),
    section('USAGE', `  piw ${topic} COMMAND`),
    section('COMMANDS', list(commands)),
    `piw ${topic} COMMAND --help shows the options and examples of a command.`,
  ]);

/** Returns the overall help. */
export const overview = (description: string, commands: readonly Row[]): string =>
  joinSections([
    wrap(`${description}.`),
    section('USAGE', '  piw COMMAND [OPTIONS]'),
    section('COMMANDS', list(commands)),
    wrap(
      'piw COMMAND --help shows the options and examples of a command, piw help exit-codes what the exit codes mean.',
    ),
  ]);

/** Returns what the exit codes of all commands mean. */
export const exitCodesHelp = (): string =>
  joinSections([
    wrap('Every command ends with one of these exit codes:'),
    list(Object.entries(EXIT_CODE_MEANINGS)),
    wrap('docs/errors.md lists the messages that lead to each.'),
  ]);

/** Returns the options of a command, its own before those that all commands have. */
export function allOptions(command: Command.Class): readonly NamedOption[] {
  const common: Readonly<Record<string, OptionDefinition>> = {
    ...PiwCommand.baseFlags,
    ...(command.enableJsonFlag ? { json: JSON_OPTION } : {}),
  };
  const own: Readonly<Record<string, OptionDefinition>> = command.flags;
  return [
    ...sorted(Object.entries(own).filter(([name]) => !(name in PiwCommand.baseFlags))),
    ...sorted(Object.entries(common).map(([name, option]) => [name, { ...option, helpGroup: COMMON }])),
  ].filter(([, { hidden }]) => hidden !== true);
}

const sorted = (options: readonly NamedOption[]) => [...options].sort(([a], [b]) => (a < b ? -1 : 1));

/** Returns the options by the headings under which they stand. */
export function optionSections(
  options: readonly NamedOption[],
): readonly (readonly [string, readonly Row[]])[] {
  const groups = new Map<string, Row[]>();
  for (const [name, option] of options) {
    const { helpGroup = '' } = option;
    const heading = helpGroup === '' ? 'OPTIONS' : helpGroup === COMMON ? COMMON : `${helpGroup} OPTIONS`;
    groups.set(heading, [...(groups.get(heading) ?? []), [optionTerm(name, option), meaningOf(option)]]);
  }
  return [...groups];
}

const argumentTerm = (name: string, required: boolean, strict: boolean): string => {
  const term = `${name.toUpperCase()}${strict ? '' : '...'}`;
  return required ? term : `[${term}]`;
};

/** Returns how an option is written: `-o, --output-path=PATH`. */
const optionTerm = (name: string, option: OptionDefinition): string =>
  `${option.char === undefined ? '    ' : `-${option.char}, `}--${option.allowNo === true ? '[no-]' : ''}${name}${valueOf(option)}`;

const valueOf = (option: OptionDefinition): string =>
  option.type === 'boolean' ? '' : `=${valueName(option)}${option.multiple === true ? '...' : ''}`;

function meaningOf({ type, description = '', required, default: fallback }: OptionDefinition): string {
  const hasDefault = type === 'option' && (typeof fallback === 'string' || typeof fallback === 'number');
  const suffix = hasDefault && !description.includes('(default:') ? ` (default: ${fallback})` : '';
  return `${description}${suffix}${required === true ? ' (required)' : ''}`;
}

/** Returns the lines of examples, indented by two. */
export function exampleLines(examples: Command.Example[] | string): readonly string[] {
  return [examples].flat().map((example) => {
    const line = typeof example === 'string' ? example : example.command;
    const text = line.replaceAll('<%= config.bin %>', 'piw');
    const words = text.match(/(?:"[^"]*"|'[^']*'|\S)+/g) ?? [];
    // Lines for Apache have no prompt. A shell, and Apache, continue a line after a backslash.
    return joinWords(text.startsWith('CustomLog') ? words : ['$', ...words], WIDTH - 8)
      .map((part, i) => `${i === 0 ? '  ' : '      '}${part}`)
      .join(' \\\n');
  });
}

/** Returns rows in two columns; a long term has its meaning on the next line. */
function list(rows: readonly Row[]): string {
  const width = Math.min(MAX_TERM_WIDTH, Math.max(...rows.map(([term]) => term.length)));
  const indent = width + 4;
  return rows
    .map(([term, meaning]) => {
      const lines = wrapWords(meaning, WIDTH - indent).map((line) => `${' '.repeat(indent)}${line}`);
      const first = `  ${term}`;
      if (term.length > width) return [first, ...lines].join('\n');
      return [`${first.padEnd(indent)}${(lines[0] ?? '').trimStart()}`.trimEnd(), ...lines.slice(1)].join(
        '\n',
      );
    })
    .join('\n');
}

const section = (heading: string, body: string): string => (body.trim() === '' ? '' : `${heading}\n${body}`);

const joinSections = (sections: readonly string[]): string =>
  `${sections.filter((text) => text !== '').join('\n\n')}\n`;

/** Returns a text with its paragraphs wrapped; a paragraph with an indented line keeps its lines. */
function wrap(text: string, indent = 0): string {
  const margin = ' '.repeat(indent);
  return text
    .trim()
    .split(/\n{2,}/)
    .map((paragraph) => {
      const lines = /^ /m.test(paragraph) ? paragraph.split('\n') : wrapWords(paragraph, WIDTH - indent);
      return lines.map((line) => `${margin}${line}`).join('\n');
    })
    .join('\n\n');
}

const wrapWords = (text: string, width: number): readonly string[] =>
  joinWords(
    text.split(/\s+/).filter((word) => word !== ''),
    width,
  );

/** Joins words to lines of up to `width` characters. */
function joinWords(words: readonly string[], width: number): readonly string[] {
  const lines: string[] = [];
  for (const word of words) {
    const line = lines.at(-1);
    if (line === undefined || line.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = `${line} ${word}`;
  }
  return lines;
}

import { Flags } from '@oclif/core';
import { SETTING_DEFINITIONS } from '../config.js';
import { PiwError } from '../errors.js';
import { nearest } from '../nearest.js';
import { COMMAND_NAMES } from './names.js';
import { valueName, type OptionDefinition } from './option-definition.js';

interface ArgumentDefinition {
  readonly required?: boolean | undefined;
  readonly options?: readonly string[] | undefined;
}

interface CommandDefinition {
  /** As the user types it: `abi add`. */
  readonly name: string;
  readonly args: Readonly<Record<string, ArgumentDefinition>>;
  readonly options: Readonly<Record<string, OptionDefinition>>;
  /** False if the command accepts any number of arguments. */
  readonly strict: boolean;
}

/** The words that a command line consists of, assigned to the definitions of a command. */
interface CommandLine {
  /** For each option that is given, its name as typed. */
  readonly given: ReadonlyMap<string, string>;
  readonly values: readonly string[];
}

/** Commands of two words: `slaves add`. */
const SUBCOMMANDS = COMMAND_NAMES.filter((id) => id.includes(':')).map((id) => id.replace(':', ' '));

const NEGATION = 'no-';

/** The parser of every Flags.integer(), by which these options are recognised: they have no other mark. */
const INTEGER_PARSER: unknown = Flags.integer().parse;

/**
 * Checks a command line before oclif parses it, so that an error is one sentence that says what is wrong and what to
 * type; what passes is accepted by oclif's parser. Throws PIW_USAGE.
 */
export function checkCommandLine(words: readonly string[], command: CommandDefinition): void {
  // Either makes oclif print its text and ignore the rest.
  const options = words.slice(0, words.includes('--') ? words.indexOf('--') : words.length);
  if (options.some((word) => ['--help', '-h', '--version'].includes(word))) return;
  const { given, values } = new CommandLineReader(command).read(words);
  checkArguments(values, command);
  for (const [name, typed] of given) {
    const other = command.options[name]?.exclusive?.find((each) => given.has(each));
    if (other !== undefined) throw usage(`${typed} and ${String(given.get(other))} can't be used together`);
  }
  for (const [name, option] of Object.entries(command.options)) {
    if (option.required === true && !given.has(name))
      throw usage(`--${name} is missing: ${withValue(`--${name}`, option)}`);
  }
}

class CommandLineReader {
  readonly #command: CommandDefinition;
  readonly #given = new Map<string, string>();
  readonly #values: string[] = [];

  constructor(command: CommandDefinition) {
    this.#command = command;
  }

  read(words: readonly string[]): CommandLine {
    const rest = [...words];
    for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
      if (word === '--') this.#values.push(...rest.splice(0));
      else if (word.startsWith('--')) this.#readLong(word, rest);
      else if (word.startsWith('-') && word !== '-') this.#readShort(word, rest);
      else this.#values.push(word);
    }
    return { given: this.#given, values: this.#values };
  }

  #readLong(word: string, rest: string[]): void {
    const equals = word.indexOf('=');
    const typed = equals === -1 ? word : word.slice(0, equals);
    const name = findLong(typed, this.#command.options);
    if (name === undefined) throw this.#unknown(typed);
    if (equals !== -1) rest.unshift(word.slice(equals + 1));
    this.#assign(name, typed, rest, equals !== -1);
  }

  /** Reads `-p 80`, `-p80` or `-p=80`, or several options without values: `-qy`. */
  #readShort(word: string, rest: string[]): void {
    const typed = word.slice(0, 2);
    const name = findShort(typed, this.#command.options);
    if (name === undefined && /^-\d/.test(word)) {
      this.#values.push(word);
      return;
    }
    if (name === undefined) throw this.#unknown(word);
    const attached = word.slice(2);
    if (attached !== '' && this.#command.options[name]?.type === 'option')
      rest.unshift(attached.replace(/^=/, ''));
    else if (attached !== '' && !attached.startsWith('=')) rest.unshift(`-${attached}`);
    this.#assign(name, typed, rest, attached.startsWith('='));
  }

  /** Takes the value of an option, if it has one, from the rest. */
  #assign(name: string, typed: string, rest: string[], hasValue: boolean): void {
    const option = this.#command.options[name];
    if (option === undefined) return;
    if (option.type === 'boolean') {
      if (hasValue) throw usage(`${typed} takes no value`);
    } else {
      const value = rest.shift();
      if (value === undefined || isOption(value, this.#command.options))
        throw usage(`${typed} needs a value: ${withValue(typed, option)}`);
      checkValue(value, typed, option);
      if (option.multiple !== true && this.#given.has(name))
        throw usage(`${typed} is given twice; give it once`);
    }
    this.#given.set(name, typed);
  }

  #unknown(typed: string): PiwError {
    const { name: command, options } = this.#command;
    const names = Object.entries(options).flatMap(([name, option]) =>
      option.hidden === true ? [] : option.allowNo === true ? [name, `${NEGATION}${name}`] : [name],
    );
    const name = typed.replace(/^-+/, '');
    const similar = nearest(name, names);
    if (similar !== undefined) return usage(`unknown option ${typed}; did you mean --${similar}?`);
    return name in SETTING_DEFINITIONS
      ? usage(`piw ${command} has no option ${typed}; write ${name} = VALUE in the configuration file`)
      : usage(`unknown option ${typed}`);
  }
}

/** Checks the number of arguments, and those that are a choice. */
function checkArguments(values: readonly string[], { name, args, strict }: CommandDefinition): void {
  const commandForm = `piw ${name}${Object.entries(args)
    .map(([arg, { required }]) => (required === true ? arg.toUpperCase() : `[${arg.toUpperCase()}]`))
    .map((form) => ` ${form}${strict ? '' : '...'}`)
    .join('')}`;
  const entries = Object.entries(args);
  const extra = values[entries.length];
  if (strict && extra !== undefined) {
    const similar = nearest(
      `${name} ${extra}`,
      SUBCOMMANDS.filter((each) => each !== name),
    );
    const hint = similar === undefined ? `the command is ${commandForm}` : `did you mean piw ${similar}?`;
    throw usage(`unexpected argument ${JSON.stringify(extra)}; ${hint}`);
  }
  entries.forEach(([arg, { required, options }], i) => {
    const value = values[i];
    if (value === undefined && required === true)
      throw usage(`${arg.toUpperCase()} is missing; the command is ${commandForm}`);
    if (value !== undefined && options !== undefined && !options.includes(value))
      throw usage(wrongChoice(arg.toUpperCase(), value, options));
  });
}

function checkValue(value: string, typed: string, option: OptionDefinition): void {
  if (option.options !== undefined && !option.options.includes(value))
    throw usage(wrongChoice(typed, value, option.options));
  if (option.parse !== INTEGER_PARSER) return;
  const { min = -Infinity, max = Infinity } = option;
  const number = Number(value);
  if (/^-?\d+$/.test(value) && number >= min && number <= max) return;
  const range = min === -Infinity ? '' : max === Infinity ? ` of at least ${min}` : ` from ${min} to ${max}`;
  throw usage(`${typed} ${JSON.stringify(value)}: must be a whole number${range}`);
}

/** Returns the problem of a value that is not among the choices, with the nearest choice. */
export function wrongChoice(subject: string, value: string, choices: readonly string[]): string {
  const similar = nearest(value, choices);
  const hint = similar === undefined ? '' : `; did you mean ${similar}?`;
  return `${subject} ${JSON.stringify(value)}: must be one of ${choices.join(', ')}${hint}`;
}

/** Returns how an option is typed with its value: `--port NUMBER`. */
const withValue = (typed: string, option: OptionDefinition): string => `${typed} ${valueName(option)}`;

function isOption(word: string, options: CommandDefinition['options']): boolean {
  if (word.startsWith('--')) return findLong(word, options) !== undefined;
  return word.startsWith('-') && findShort(word.slice(0, 2), options) !== undefined;
}

/** Returns the name of the option that `--NAME` or `--no-NAME` stands for. */
function findLong(typed: string, options: CommandDefinition['options']): string | undefined {
  const name = typed.slice(2);
  const entries = Object.entries(options);
  const [option] =
    entries.find(([key, { aliases }]) => key === name || aliases?.includes(name) === true) ??
    entries.find(([key, { allowNo }]) => allowNo === true && name === `${NEGATION}${key}`) ??
    [];
  return option;
}

function findShort(typed: string, options: CommandDefinition['options']): string | undefined {
  return Object.keys(options).find((name) => options[name]?.char === typed.slice(1));
}

const usage = (text: string): PiwError => new PiwError('PIW_USAGE', text);

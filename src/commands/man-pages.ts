import type { Command } from '@oclif/core';
import { EXIT_CODE_MEANINGS } from '../errors.js';
import { VERSION } from '../version.js';
import {
  allOptions,
  argumentTerms,
  exampleLines,
  optionSections,
  requiredOptions,
  type Row,
} from './help-text.js';
import { COMMAND_LOADERS } from './loaders.js';

/** Configuration files, in the order in which they are read, as piw(1) lists them. */
const FILES: readonly Row[] = [
  ['/etc/piwheels.conf', 'settings of every command on this machine'],
  ['/usr/local/etc/piwheels.conf', 'further ones, which take precedence'],
  ['~/.config/piwheels/piwheels.conf', "a user's own, which take precedence over both"],
];

const ENVIRONMENT: readonly Row[] = [
  [
    'PIW_OUTPUT_PATH',
    'the setting output-path, and so on for every setting; it takes precedence over the files',
  ],
];

/** Returns the manual pages of piw and of all its commands, by file name. Loads every command. */
export async function renderManPages(description: string): Promise<Readonly<Record<string, string>>> {
  const commands = await Promise.all(
    Object.entries(COMMAND_LOADERS).map(async ([id, load]) => {
      const { default: command } = await load();
      return [id.replaceAll(':', ' '), command] as const;
    }),
  );
  const summaries = commands.map(([name, { summary = '' }]): Row => [name, summary]);
  return {
    'piw.1': overviewPage(description, summaries),
    ...Object.fromEntries(
      commands.map(([name, command]) => [`${titleOf(name)}.1`, commandPage(name, command)]),
    ),
  };
}

const titleOf = (name: string): string => `piw-${name.replaceAll(' ', '-')}`;

function commandPage(name: string, command: Command.Class): string {
  const { summary = '', description = '', args, examples } = command;
  const terms = argumentTerms(command);
  const options = allOptions(command);
  const usage = [...terms, ...requiredOptions(options), '[OPTIONS]'].join(' ');
  const argumentRows = Object.values(args).map(({ description: meaning = '' }, i): Row => [
    terms[i] ?? '',
    meaning,
  ]);
  return manPage(titleOf(name), summary, [
    section('SYNOPSIS', `${bold(`piw ${name}`)} ${escape(usage)}`),
    section('DESCRIPTION', paragraphs(description)),
    section('ARGUMENTS', list(argumentRows)),
    ...optionSections(options).map(([heading, rows]) => section(heading, list(rows))),
    section('EXAMPLES', preformatted(exampleLines(examples).join('\n'))),
    section('SEE ALSO', `${bold('piw')}(1)`),
  ]);
}

const overviewPage = (description: string, commands: readonly Row[]): string =>
  manPage('piw', description, [
    section('SYNOPSIS', `${bold('piw')} COMMAND [OPTIONS]`),
    section('COMMANDS', list(commands.map(([name, summary]) => [`piw ${name}`, summary]))),
    section('EXIT STATUS', list(Object.entries(EXIT_CODE_MEANINGS))),
    section('FILES', list(FILES)),
    section('ENVIRONMENT', list(ENVIRONMENT)),
    section('SEE ALSO', `Each command has a page of its own, e.g. ${bold(titleOf('slaves add'))}(1).`),
  ]);

function manPage(title: string, summary: string, sections: readonly string[]): string {
  const text = summary.replace(/\.$/, '');
  return [
    `.TH "${escape(title.toUpperCase())}" 1 "" "piw ${VERSION}" "piw"`,
    section('NAME', `${escape(title)} \\- ${escape(`${text.charAt(0).toLowerCase()}${text.slice(1)}`)}`),
    ...sections,
  ]
    .filter((part) => part !== '')
    .join('\n')
    .concat('\n');
}

const section = (heading: string, body: string): string => (body === '' ? '' : `.SH ${heading}\n${body}`);

const bold = (text: string): string => `\\fB${escape(text)}\\fR`;

const list = (rows: readonly Row[]): string =>
  rows.map(([term, meaning]) => `.TP\n${bold(term.trim())}\n${escape(meaning)}`).join('\n');

/** Returns paragraphs, which are filled; one with an indented line keeps its lines. */
const paragraphs = (text: string): string =>
  text
    .trim()
    .split(/\n{2,}/)
    .map((paragraph) => (/^ /m.test(paragraph) ? preformatted(paragraph) : escape(paragraph)))
    .join('\n.PP\n');

const preformatted = (text: string): string => (text === '' ? '' : `.nf\n${escape(text)}\n.fi`);

/** Escapes what means something to roff: backslashes, hyphens, and a dot or a quote that begins a line. */
const escape = (text: string): string =>
  text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/^(?=[.'])/gm, '\\&');

/** The pages of the documentation, and the sample configuration, that are generated from the code. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Config } from '@oclif/core';
import { allOptions } from '../../src/commands/help-text.js';
import { renderHelpTexts } from '../../src/commands/help-texts.js';
import { commands } from '../../src/commands/index.js';
import { SETTING_DEFINITIONS, type SettingName } from '../../src/config.js';
import { ERRORS, EXIT_CODE_MEANINGS } from '../../src/errors.js';
import type { Database } from '../../src/database/pool.js';
import { ROOT } from '../../src/root.js';
import { actorPages } from './actor-pages.js';
import { readConversations } from './conversations.js';
import { FIELD_MEANINGS } from './field-meanings.js';
import { jsonShape } from './json-shapes.js';
import { page, table } from './markdown.js';
import { titleOf } from './participants.js';
import { type Program, readProgram } from './program.js';
import { protocolPages } from './protocol-pages.js';
import { schemaPage } from './schema-page.js';
import { settingReaders } from './setting-readers.js';
import { TypeNames } from './type-names.js';

const COMMENT_WIDTH = 78;
/** A setting that more commands have as an option, or read, is one of most commands. */
const MAX_COMMANDS = 8;

/** Folders that hold only generated files. */
export const GENERATED_FOLDERS = ['docs/actors', 'docs/commands', 'docs/protocols'] as const;

/**
 * Returns the contents of every generated file, by its path below the root of the repository. `db`: see schemaPage.
 */
export async function generatedFiles(db: Database): Promise<Readonly<Record<string, string>>> {
  const helpTexts = await renderHelpTexts(await Config.load({ root: ROOT }));
  const names = Object.keys(commands).map((id) => id.replaceAll(':', ' '));
  const program = readProgram();
  const types = new TypeNames(program, FIELD_MEANINGS);
  const conversations = await readConversations(program, types);
  return {
    'docs/errors.md': errorsPage(),
    'docs/settings.md': settingsPage(program),
    'docs/schema.md': await schemaPage(db),
    'docs/commands/README.md': commandsIndex(names),
    ...Object.fromEntries(
      names.map((name) => [
        commandPage(name),
        formatCommandPage(name, helpTexts[name] ?? '', shapeOf(program, name)),
      ]),
    ),
    ...protocolPages(conversations, types),
    ...actorPages(program, conversations, (name) => {
      const definition = SETTING_DEFINITIONS[name];
      return [kindOf(definition), defaultOf(definition.fallback)];
    }),
    'config/piwheels.conf': sampleConfiguration(readFileSync(join(ROOT, 'docs/configuration.md'), 'utf8')),
  };
}

const commandPage = (name: string): string => `docs/commands/${name.replaceAll(' ', '-')}.md`;

/** Returns what a command prints with --json; undefined if it has no such option. */
function shapeOf(program: Program, name: string): string | undefined {
  const command = commands[name.replaceAll(' ', ':')];
  return command?.enableJsonFlag === true
    ? jsonShape(program, `src/commands/${name.replaceAll(' ', '/')}.ts`)
    : undefined;
}

const codeBlock = (text: string): string => `\`\`\`\n${text.trimEnd()}\n\`\`\``;

function formatCommandPage(name: string, help: string, shape: string | undefined): string {
  return page(
    `piw ${name}`,
    codeBlock(help),
    ...(shape === undefined
      ? []
      : [
          '## JSON',
          'What it prints with `--json`, as types; `?` marks a key that may be missing, and a blank line separates alternatives:',
          codeBlock(shape),
        ]),
    'All commands: [commands](README.md). The settings in a configuration file: [configuration](../configuration.md).',
  );
}

const commandsIndex = (names: readonly string[]): string =>
  page(
    'The help of every command',
    'What `piw COMMAND --help` prints. The [chapter on commands](../commands.md) groups them by purpose.',
    table([
      ['command', 'what it does'],
      ...names.map((name) => [
        `[\`piw ${name}\`](${name.replaceAll(' ', '-')}.md)`,
        commands[name.replaceAll(' ', ':')]?.summary ?? '',
      ]),
    ]),
  );

function errorsPage(): string {
  const sections = Object.entries(EXIT_CODE_MEANINGS).flatMap(([exit, meaning]) => {
    const errors = Object.entries(ERRORS).filter(([, error]) => String(error.exit) === exit);
    if (errors.length === 0) return [];
    const rows = errors.map(([code, { advice }]) => [`\`${code}\``, advice.replaceAll('|', '\\|')]);
    return [`## Exit code ${exit}: ${meaning}`, table([['code', 'what to do'], ...rows])];
  });
  return page(
    'Errors',
    'The codes stand in messages between the parts of a farm and in its log; a command prints the sentence of an error, with what to do. They are defined in [src/errors.ts](../src/errors.ts).',
    ...sections,
  );
}

function settingsPage(program: Program): string {
  const readers = settingReaders(program);
  const rows = Object.entries(SETTING_DEFINITIONS).map(([name, definition]) => [
    `\`${name}\``,
    kindOf(definition),
    defaultOf(definition.fallback),
    definition.since,
    readersOf(readers, name as SettingName),
    commandsWith(name),
  ]);
  return page(
    'Settings',
    'Every key of the configuration file, in the order of [src/config.ts](../src/config.ts): its kind, its default, the release in which it came (or piwheels, which has it, too), the tasks and commands that read it, and the commands that have it as an option. `piw config show` and `piw backup` read all of them. `piw master` and `piw actor` start tasks, and hand them their settings. What each means is in the chapter on [configuration](configuration.md#keys); [config/piwheels.conf](../config/piwheels.conf) is a sample with all of them.',
    table([['key', 'kind', 'default', 'since', 'read by', 'option of'], ...rows]),
  );
}

function kindOf({ kind, ...rest }: (typeof SETTING_DEFINITIONS)[keyof typeof SETTING_DEFINITIONS]): string {
  if ('choices' in rest) return rest.choices.map((choice) => `\`${choice}\``).join(', ');
  const kinds = {
    text: 'text',
    choice: 'choice',
    list: 'list: the key can be repeated',
    flag: 'flag',
    whole: 'number',
    duration: 'duration',
    path: 'path',
  };
  return kinds[kind];
}

function defaultOf(fallback: string | readonly string[] | boolean | number | null): string {
  if (fallback === null || Array.isArray(fallback)) return '';
  return `\`${String(fallback)}\``;
}

/** Returns links to the tasks that read a setting, and the commands that do. */
function readersOf(readers: ReturnType<typeof settingReaders>, name: SettingName): string {
  const { tasks, commands: ids } = readers.get(name) ?? { tasks: [], commands: [] };
  return [...tasks.map((task) => `[${titleOf(task)}](actors/${task}.md)`), ...listCommands(ids)].join(', ');
}

function commandsWith(setting: string): string {
  const having = Object.entries(commands).filter(([, command]) =>
    allOptions(command).some(([name]) => name === setting),
  );
  return listCommands(having.map(([id]) => id.replaceAll(':', ' '))).join(', ');
}

const listCommands = (names: readonly string[]): readonly string[] =>
  names.length > MAX_COMMANDS ? ['most commands'] : names.map((name) => `\`piw ${name}\``);

/** Returns a configuration file in which every key of the chapter is commented out, with its meaning. */
function sampleConfiguration(chapter: string): string {
  const lines: string[] = [];
  for (const line of chapter.split('\n')) {
    const [, heading] = /^### (.*)$/.exec(line) ?? [];
    if (heading !== undefined) lines.push('', '', `# ${heading}`);
    const [, key, fallback = '', meaning = ''] = /^\| `([^`]+)` *\| (.*?) *\| (.*?) *\|$/.exec(line) ?? [];
    if (key === undefined) continue;
    const text = plainText(meaning);
    lines.push('', ...wrap(`${text.charAt(0).toUpperCase()}${text.slice(1)}.`).map((part) => `# ${part}`));
    lines.push(`#${key} = ${plainText(fallback)}`.trimEnd());
  }
  return [
    '# The configuration of piw: copy it to /etc/piwheels.conf, and uncomment what you',
    '# change. Each setting shows its default; docs/configuration.md says more.',
    ...lines,
    '',
  ].join('\n');
}

const plainText = (markdown: string): string =>
  markdown.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').replaceAll('`', '');

function wrap(text: string): readonly string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const line = lines.at(-1);
    if (line === undefined || line.length + 1 + word.length > COMMENT_WIDTH) lines.push(word);
    else lines[lines.length - 1] = `${line} ${word}`;
  }
  return lines;
}

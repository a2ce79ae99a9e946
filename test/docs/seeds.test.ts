/** docs/seeds.md: each test, command, option and message that it names exists, so that the page can't go stale. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { allOptions } from '../../src/commands/help-text.js';
import { commands } from '../../src/commands/index.js';
import type { OptionDefinition } from '../../src/commands/option-definition.js';
import { Protocol } from '../../src/protocols/protocol.js';
import { ROOT } from '../../src/root.js';

interface Row {
  /** The heading above the row. */
  readonly section: string;
  readonly piw: string;
  readonly shownBy: string;
}

const PAGE = readFileSync(join(ROOT, 'docs/seeds.md'), 'utf8');
const ROWS = PAGE.split(/^## /m).flatMap((section): Row[] => {
  const [heading = ''] = section.split('\n', 1);
  const rows = [...section.matchAll(/^\|(.*)\|(.*)\|(.*)\|$/gm)].slice(2);
  return rows.map(([, , piw = '', shownBy = '']) => ({
    section: heading.trim(),
    piw: piw.trim(),
    shownBy: shownBy.trim(),
  }));
});

const codeSpans = (markdown: string): readonly string[] =>
  [...markdown.matchAll(/`([^`]+)`/g)].map(([, code = '']) => code);

/** Returns expressions for the titles of a test file; a value in a title may be anything. */
function titlesIn(source: string): readonly RegExp[] {
  const literals = source.matchAll(/\btest\(\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|`([^`]*)`)/g);
  return [...literals].map(([, single, double, template = '']) => {
    const text = single ?? double;
    const pattern =
      text === undefined
        ? template
            .split(/\$\{[^}]*\}/)
            .map(escapeRegExp)
            .join('.+')
        : escapeRegExp(text.replace(/\\(.)/g, '$1'));
    return new RegExp(`^${pattern}$`);
  });
}

const escapeRegExp = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

void t.test('every test that the page cites exists', (t) => {
  const titles = new Map<string, readonly RegExp[]>();
  const titlesOf = (file: string): readonly RegExp[] => {
    const path = join(ROOT, file);
    if (!titles.has(file)) titles.set(file, existsSync(path) ? titlesIn(readFileSync(path, 'utf8')) : []);
    return titles.get(file) ?? [];
  };
  const citations = ROWS.flatMap(({ shownBy }) => [...shownBy.matchAll(/`(test\/[^`]+)`(?:: "([^"]+)")?/g)]);
  t.ok(citations.length > 150, `${citations.length} citations`);
  t.same(
    citations
      .filter(([, file = '', title = '']) => !titlesOf(file).some((pattern) => pattern.test(title)))
      .map(([citation]) => citation),
    [],
  );
  t.end();
});

void t.test('every row has a test or a reason', (t) => {
  t.ok(ROWS.length > 150, `${ROWS.length} rows`);
  t.same(
    ROWS.filter(({ piw, shownBy }) => shownBy === '' && !piw.startsWith('left out: ')),
    [],
  );
  t.end();
});

const has = (options: readonly (readonly [string, OptionDefinition])[], typed: string): boolean =>
  options.some(([name, { char, aliases = [] }]) =>
    typed.startsWith('--')
      ? [name, ...aliases].includes(typed.slice('--'.length))
      : typed === `-${char ?? ''}`,
  );

/** Returns the command that the words begin with, in the form of oclif: `slaves:kill`. */
const commandOf = ([first = '', second = '']: readonly string[]): string | undefined =>
  [`${first}:${second}`, first].find((name) => Object.hasOwn(commands, name));

void t.test('every command and option that the page names exists', (t) => {
  const OPTION = /^--?[a-z][a-z-]*/i;
  const wrong = ROWS.flatMap(({ section, piw }) =>
    codeSpans(piw).flatMap((code) => {
      const words = code.split(/\s+/);
      const isCommand = words[0] === 'piw';
      const typed = words.flatMap((word) => OPTION.exec(word)?.[0] ?? []);
      if (!isCommand && !OPTION.test(code)) return [];
      // An option alone is one of the section's command; those of all commands are those of any.
      const name = isCommand
        ? commandOf(words.slice(1))
        : commandOf([/^piw-(\w+)$/.exec(section)?.[1] ?? 'add']);
      const command = name === undefined ? undefined : commands[name];
      if (command === undefined) return [`${section}: ${code}`];
      return typed
        .filter((option) => !has(allOptions(command), option))
        .map((option) => `${section}: ${option}`);
    }),
  );
  t.same(wrong, []);
  t.end();
});

void t.test('the messages that the page names are those of the conversations', async (t) => {
  const folder = new URL('../../src/protocols/', import.meta.url);
  const verbs = new Map<string, Set<string>>();
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.js'))) {
    const exported = Object.values((await import(new URL(file, folder).href)) as Record<string, unknown>);
    for (const protocol of exported)
      if (protocol instanceof Protocol)
        verbs.set(
          protocol.name,
          new Set(
            Object.entries(protocol.verbs as Protocol<Record<string, never>>['verbs']).flatMap(
              ([verb, { answers = {} }]: [string, { answers?: object }]) => [verb, ...Object.keys(answers)],
            ),
          ),
        );
  }
  const named = new Set(
    ROWS.flatMap(({ piw }) => codeSpans(piw)).filter((code) => /^[a-z-]+\.[A-Z]+$/.test(code)),
  );
  t.ok(named.size > 50, `${named.size} messages`);
  t.same(
    [...named].filter((code) => {
      const [conversation = '', verb = ''] = code.split('.');
      return verbs.get(conversation)?.has(verb) !== true;
    }),
    [],
    'each exists',
  );
  // DONE says nothing but that an order was carried out.
  const documented = ['slave', 'file', 'chase', 'control', 'slaves'].flatMap((conversation) =>
    [...(verbs.get(conversation) ?? [])]
      .filter((verb) => verb !== 'DONE')
      .map((verb) => `${conversation}.${verb}`),
  );
  t.same(
    documented.filter((code) => !named.has(code)),
    [],
    'none of the conversations with slaves and commands is missing',
  );
});

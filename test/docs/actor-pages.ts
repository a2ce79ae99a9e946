/** docs/actors: a page for each task, for the ControlDesk and for the build slave. */
import ts from 'typescript';
import { CAST, controlDesk } from '../../actors/cast.js';
import type { ActorSpec } from '../../src/actor/run.js';
import { SETTING_DEFINITIONS } from '../../src/config.js';
import type { Conversation } from './conversations.js';
import { cell, code, page, table } from './markdown.js';
import { linksTo, participantsOf, titleOf } from './participants.js';
import { type Program, commentOf, markdownOf, visitAll } from './program.js';

type Spec = Omit<ActorSpec<never>, 'load'>;

const NO_HOOKS = {} as Parameters<typeof controlDesk>[0];

/** Returns the pages; `settingText` says kind and default of a setting. */
export function actorPages(
  program: Program,
  conversations: readonly Conversation[],
  settingText: (name: keyof typeof SETTING_DEFINITIONS) => readonly [kind: string, fallback: string],
): Readonly<Record<string, string>> {
  const details = (file: string, ownSpec?: Spec) => [
    classComment(program, file),
    ...(ownSpec ? [specTable(program, ownSpec, file)] : []),
    ...messageSections(conversations, file),
  ];
  const pages = CAST.map((spec) => {
    const settings = settingsOfTask(program, spec.task);
    const rows = settings.map((name) => [settingLink(name), ...settingText(name)]);
    return [
      `docs/actors/${spec.task}.md`,
      page(
        titleOf(spec.task),
        ...details(`actors/${spec.task}.ts`, spec),
        '## Settings',
        rows.length === 0 ? 'It has no settings of its own.' : table([['key', 'kind', 'default'], ...rows]),
        'Like every task it also reads the settings that are about [NATS](../configuration.md#nats) and [logs](../configuration.md#logs).',
        FOOT,
      ),
    ] as const;
  });
  return {
    'docs/actors/README.md': indexPage(program),
    ...Object.fromEntries(pages),
    'docs/actors/control-desk.md': page(
      'ControlDesk',
      ...details('actors/control-desk.ts', controlDesk(NO_HOOKS)),
      FOOT,
    ),
    'docs/actors/build-slave.md': page(
      'The build slave',
      ...details('src/slave/build-slave.ts'),
      'It is not an actor of the master, but a program on a machine that builds: [piw slave](../commands/slave.md), with its options. The chapter on [slaves](../slaves.md) says how to set one up and what it may do.',
      FOOT,
    ),
  };
}

const FOOT = 'All actors: [the index](README.md). All conversations: [their index](../protocols/README.md).';

const PAUSE_TEXTS = {
  ignores: 'goes on',
  stops: 'takes no new work; a request to it fails with `PIW_NO_RESPONDERS`',
  answers: 'goes on answering, and says "not now"',
} as const;

const indexPage = (program: Program): string =>
  page(
    'The actors',
    'What each of them does, whom it talks to, and which settings it reads. [Architecture](../architecture.md#the-cast) shows how they work together.',
    table([
      ['actor', 'task', 'kind', 'what it does'],
      ...CAST.map(({ task, kind }) => [
        `[${titleOf(task)}](${task}.md)`,
        code(task),
        kind,
        firstSentence(classComment(program, `actors/${task}.ts`)),
      ]),
      [
        '[ControlDesk](control-desk.md)',
        '',
        'in each master',
        firstSentence(classComment(program, 'actors/control-desk.ts')),
      ],
      [
        '[build slave](build-slave.md)',
        '',
        '`piw slave`',
        firstSentence(classComment(program, 'src/slave/build-slave.ts')),
      ],
    ]),
  );

const firstSentence = (comment: string): string =>
  cell(/^[^.]*?[.:](?=\s|$)/.exec(comment)?.[0] ?? comment).replace(/:$/, '.');

/** Returns the comment of the class in a file, as Markdown. */
function classComment({ files }: Program, file: string): string {
  const source = files.get(file);
  const declaration = source?.statements.find((each) => ts.isClassDeclaration(each));
  const comment = declaration && commentOf(declaration);
  if (comment === undefined) throw new Error(`the class in ${file} has no comment`);
  return markdownOf(comment);
}

function specTable(program: Program, spec: Spec, file: string): string {
  const { task, kind, count, pausing, wave, nice, semiSpaceMb } = spec;
  const isChild = CAST.some((each) => each.task === task);
  const scale =
    kind === 'pool'
      ? `any number of processes share its work; a master starts ${count}`
      : 'of any number of processes one works, and holds the [lease](../glossary.md#leases-and-fences) of the task; the others stand by, and one of them takes over within seconds';
  const rows: readonly (readonly [string, string])[] = [
    ['source', `[${file}](../../${file})`],
    [
      'supervised by',
      isChild
        ? `the [master](../master.md#how-the-master-runs-its-tasks), in a process of its own; one more: \`piw actor ${task}\``
        : 'nobody: it is in the process of the [master](../master.md#how-the-master-runs-its-tasks) itself',
    ],
    ['processes', isChild ? scale : 'one in each master; each order goes to one of them'],
    ['while paused', PAUSE_TEXTS[pausing]],
    ...(wave === undefined
      ? []
      : [['stopped', `in wave ${wave}, before those of lower [waves](../glossary.md#actors)`] as const]),
    ...(nice === undefined ? [] : [['niceness', String(nice)] as const]),
    ...(semiSpaceMb === undefined ? [] : [['V8 semi-space', `${semiSpaceMb} MB`] as const]),
    ['database', databaseText(program, task)],
  ];
  return table([['', ''], ...rows]);
}

/** Says how a task gets at the database. */
function databaseText(program: Program, task: string): string {
  const load = specOf(program, task)?.getText() ?? '';
  if (load.includes('Database.open'))
    return 'reads and writes it, over connections of its own: see [the schema](../schema.md)';
  return 'no access of its own: The Oracle answers for it';
}

/** Returns the entry of a task in actors/cast.ts. */
function specOf({ files }: Program, task: string): ts.ObjectLiteralExpression | undefined {
  let spec: ts.ObjectLiteralExpression | undefined;
  const cast = files.get('actors/cast.ts');
  if (cast)
    visitAll(cast, (node) => {
      if (ts.isPropertyAssignment(node) && node.getText() === `task: '${task}'`) spec = node.parent;
    });
  return spec;
}

/** Returns the settings that actors/cast.ts hands to a task. */
export function settingsOfTask(
  program: Program,
  task: string,
): readonly (keyof typeof SETTING_DEFINITIONS)[] {
  const found = new Set<string>();
  const visit = (node: ts.Node): void => {
    if (isSettings(node)) for (const name of propertiesReadFrom(node, visit)) found.add(name);
  };
  const spec = specOf(program, task);
  if (!spec) throw new Error(`${task} is not in the cast`);
  visitAll(spec, visit);
  const names = Object.keys(SETTING_DEFINITIONS) as (keyof typeof SETTING_DEFINITIONS)[];
  return names.filter((name) => found.has(name));
}

const isSettings = (node: ts.Node): node is ts.Identifier =>
  ts.isIdentifier(node) && node.text === 'settings';

/** Returns what is read from the settings at this place; `visit` is called for functions that get all of them. */
function propertiesReadFrom(settings: ts.Identifier, visit: (node: ts.Node) => void): readonly string[] {
  const { parent } = settings;
  if (ts.isPropertyAccessExpression(parent)) return [parent.name.text];
  if (ts.isElementAccessExpression(parent))
    return ts.isStringLiteral(parent.argumentExpression) ? [parent.argumentExpression.text] : [];
  if (ts.isVariableDeclaration(parent) && ts.isObjectBindingPattern(parent.name))
    return parent.name.elements.map(({ propertyName, name }) => textOf(propertyName ?? name));
  if (ts.isCallExpression(parent) && ts.isIdentifier(parent.expression)) {
    const called = parent.expression.text;
    const source = settings.getSourceFile();
    const declaration = source.statements.find(
      (each) => ts.isFunctionDeclaration(each) && each.name?.text === called,
    );
    if (declaration) visitAll(declaration, visit);
  }
  return [];
}

const textOf = (name: ts.Node): string => (ts.isStringLiteral(name) ? name.text : name.getText());

const settingLink = (name: keyof typeof SETTING_DEFINITIONS): string => `[${code(name)}](../settings.md)`;

/** Returns what an actor serves and hears, and what it sends. */
function messageSections(conversations: readonly Conversation[], file: string): readonly string[] {
  const [self] = participantsOf([file]);
  const isMine = (paths: readonly string[]) =>
    participantsOf(paths).some(({ title }) => title === self?.title);
  const rowsOf = (
    mine: 'senders' | 'receivers',
    others: 'senders' | 'receivers',
  ): readonly (readonly string[])[] =>
    conversations.flatMap(({ name, subject, verbs }) => {
      const own = verbs.filter((verb) => isMine(verb[mine]));
      if (own.length === 0) return [];
      const partners = participantsOf(own.flatMap((verb) => verb[others]));
      return [
        [
          `[${name}](../protocols/${name}.md)`,
          code(`PREFIX.${subject}.VERB`),
          own.map((verb) => verb.name).join(', '),
          linksTo(partners) || (others === 'senders' ? 'nobody at present' : 'whoever listens'),
        ],
      ];
    });
  const [served, sent] = [rowsOf('receivers', 'senders'), rowsOf('senders', 'receivers')];
  return [
    '## What it serves and hears',
    served.length === 0
      ? 'Nothing of its own.'
      : table([['conversation', 'subjects', 'messages', 'from'], ...served]),
    '## What it sends',
    sent.length === 0
      ? 'Nothing of its own.'
      : table([['conversation', 'subjects', 'messages', 'to'], ...sent]),
    ...(file.startsWith('actors/') && !file.includes('control-desk')
      ? [
          'Every task also takes the [orders](../protocols/orders.md) of administrators, answers [pings](../protocols/ping.md), announces itself ([status](../protocols/status.md)) and reports its [conditions](../protocols/conditions.md).',
        ]
      : []),
  ];
}

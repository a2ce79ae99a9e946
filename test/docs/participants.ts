/** Who a source file belongs to, as the generated pages name them. */
import { CAST } from '../../actors/cast.js';
import { commands } from '../../src/commands/index.js';

/** A task of the cast, or another part of the program that takes part in conversations. */
export interface Participant {
  readonly title: string;
  /** Its page below docs/, if it has one. */
  readonly page?: string;
  readonly isCommand?: boolean;
}

const BUILD_SLAVE: Participant = { title: 'build slave', page: 'actors/build-slave.md' };

/** The participants outside the cast, by the beginnings of paths. */
const OTHERS: Readonly<Record<string, readonly Participant[]>> = {
  'actors/control-desk': [{ title: 'ControlDesk', page: 'actors/control-desk.md' }],
  'src/slave/': [BUILD_SLAVE],
  // Whoever sends files.
  'src/transfer/': [BUILD_SLAVE, command('import')],
  'src/farm/': [command('farm')],
  'src/doctor/': [command('doctor')],
  'src/actor/child': [{ title: 'supervisor' }],
  'src/actor/identity': [{ title: 'process that starts' }],
  'src/actor/list-processes': [command('status'), command('doctor')],
  'src/actor/': [{ title: 'every task' }],
};

function command(name: string): Participant {
  const page = `commands/${name.replaceAll(' ', '-')}.md`;
  return { title: `\`piw ${name}\``, page, isCommand: true };
}

export const titleOf = (task: string): string =>
  task
    .split('-')
    .map((word) => word.charAt(0).toUpperCase() + word.slice(1))
    .join(' ');

/** Returns the participants that a file belongs to. */
function participantsOfFile(path: string): readonly Participant[] {
  const task = CAST.find(
    ({ task }) => path === `actors/${task}.ts` || path.startsWith(`actors/${task}/`),
  )?.task;
  if (task !== undefined) return [{ title: titleOf(task), page: `actors/${task}.md` }];
  const [, others] = Object.entries(OTHERS).find(([prefix]) => path.startsWith(prefix)) ?? [];
  return others ?? [commandOf(path)];
}

/** Returns the command that a file below src/commands is of; a part of several commands has no page. */
function commandOf(path: string): Participant {
  const words = path.replace(/^src\/commands\/|\.ts$/g, '').split('/');
  const id = [words.join(':'), words[0] ?? ''].find((each) => Object.hasOwn(commands, each));
  if (id !== undefined) return command(id.replace(':', ' '));
  const topic = words.length > 1 ? ` ${words[0] ?? ''}` : '';
  return { title: `\`piw${topic}\` commands`, isCommand: true };
}

/** Returns the participants that files belong to, each once. */
export function participantsOf(paths: readonly string[]): readonly Participant[] {
  const all = paths.flatMap(participantsOfFile);
  return [...new Map(all.map((each) => [each.title, each])).values()];
}

/** Returns their names with links, for a page in a folder below docs/. */
export const linksTo = (participants: readonly Participant[]): string =>
  participants.map(({ title, page }) => (page === undefined ? title : `[${title}](../${page})`)).join(', ');

/** Returns the same, with all commands as one. */
export function withoutCommands(participants: readonly Participant[]): readonly Participant[] {
  const others = participants.filter(({ isCommand }) => isCommand !== true);
  if (others.length === participants.length) return participants;
  return [...others, { title: 'commands', page: 'commands/README.md' }];
}

import type { Interfaces } from '@oclif/core';
import type { HelpTexts } from './help-file.js';
import { commandHelp, exitCodesHelp, overview, topicHelp } from './help-text.js';
import { COMMAND_LOADERS } from './loaders.js';

/** Returns all help texts. Loads every command. */
export async function renderHelpTexts({ pjson }: Interfaces.Config): Promise<HelpTexts> {
  const topics = Object.entries(pjson.oclif.topics ?? {});
  const commands = await Promise.all(
    Object.entries(COMMAND_LOADERS).map(async ([id, load]) => {
      const { default: command } = await load();
      return { name: id.replaceAll(':', ' '), command };
    }),
  );
  const rowsOf = (filter: (name: string) => boolean) =>
    commands
      .filter(({ name }) => filter(name))
      .map(({ name, command }) => [name, command.summary ?? ''] as const);
  const topicRows = topics.map(([name, { description = '' }]) => [name, description] as const);
  const rows = [...rowsOf((name) => !name.includes(' ')), ...topicRows].sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    '': overview(String(pjson.description), rows),
    'exit-codes': exitCodesHelp(),
    ...Object.fromEntries(
      topics.map(([topic, { description = '' }]) => [
        topic,
        topicHelp(
          topic,
          description,
          rowsOf((name) => name.startsWith(`${topic} `)),
        ),
      ]),
    ),
    ...Object.fromEntries(commands.map(({ name, command }) => [name, commandHelp(name, command)])),
  };
}

import { nearest } from '../nearest.js';
import { COMMAND_NAMES } from './names.js';

/** Returns what is wrong with a command line that begins with no command, and what to type. */
export function unknownCommand(words: readonly string[]): string {
  const names = COMMAND_NAMES.map((name) => name.replaceAll(':', ' '));
  const [first = '', second] = words;
  if (first.startsWith('-')) {
    const command = words.find((word) => names.includes(word)) ?? 'COMMAND';
    const similar = nearest(first, ['--help', '--version']);
    return similar === undefined
      ? `the command comes before its options: piw ${command} ${first}. See piw --help.`
      : `unknown option ${first}; did you mean ${similar}? See piw --help.`;
  }
  // The name of a command has one or two words; oclif takes two words for a name if a command has no arguments.
  const typed =
    second !== undefined && (isTopic(first) || names.includes(first)) ? `${first} ${second}` : first;
  const command = [typed, first].find((name) => names.includes(name));
  const extra = command === typed ? words[2] : second;
  const similar = nearest(
    command === typed ? `${typed} ${extra ?? ''}` : typed,
    names.filter((name) => name !== command),
  );
  if (command !== undefined) {
    const hint = similar === undefined ? `the command is piw ${command}.` : `did you mean piw ${similar}?`;
    return `unexpected argument ${JSON.stringify(extra)}; ${hint} See piw ${command} --help.`;
  }
  const hint = similar === undefined ? subcommandsHint(first) : `; did you mean piw ${similar}?`;
  return `unknown command: ${typed}${hint} See piw --help.`;
}

/** Returns the commands of a topic, as the end of a sentence: `; there is piw abi add, list, …`. */
const subcommandsHint = (topic: string): string => {
  const names = COMMAND_NAMES.flatMap((name) =>
    name.startsWith(`${topic}:`) ? name.slice(topic.length + 1) : [],
  );
  return names.length === 0 ? '.' : `; there is piw ${topic} ${names.join(', ')}.`;
};

const isTopic = (word: string): boolean => COMMAND_NAMES.some((name) => name.startsWith(`${word}:`));

import { VERSION } from '../version.js';
import { readHelpTexts } from './help-file.js';
import { COMMAND_NAMES } from './names.js';
import { unknownCommand } from './unknown-command.js';

/**
 * Answers a command line that needs no command to be loaded: `--version`, help, and an unknown command. Returns the exit
 * code; undefined if a command has to be run, or if the help texts have not been written.
 */
export function answerWithoutOclif(words: readonly string[]): number | undefined {
  const [first] = words;
  if (first === '--version') {
    process.stdout.write(`piw/${VERSION} ${process.platform}-${process.arch} node-${process.version}\n`);
    return 0;
  }
  const texts = readHelpTexts();
  if (texts === undefined) return undefined;
  const options = words.slice(0, words.includes('--') ? words.indexOf('--') : words.length);
  const isHelp =
    first === undefined || first === 'help' || options.includes('--help') || options.includes('-h');
  const subject = first === 'help' ? words.slice(1) : words;
  const [topic = '', second = ''] = subject;
  const name = [`${topic} ${second}`, topic].find((each) => Object.hasOwn(texts, each));
  if (COMMAND_NAMES.some((each) => each.replace(':', ' ') === name) && !isHelp) return undefined;
  // A topic alone, such as piw abi, asks for its help; options without a command ask for the overview.
  const isTopicAlone = name === topic && (second === '' || second.startsWith('-'));
  const isOverview = topic === '' || topic.startsWith('-');
  if (isHelp ? name !== undefined || isOverview : isTopicAlone) {
    process.stdout.write(texts[isOverview ? '' : (name ?? '')] ?? '');
    return 0;
  }
  process.stderr.write(`piw: ${unknownCommand(subject)}\n`);
  return 2;
}

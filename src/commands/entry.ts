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
  const names = [subject.slice(0, 2).join(' '), subject[0] ?? ''];
  const name = names.find((each) => Object.hasOwn(texts, each));
  const isCommand = COMMAND_NAMES.some((each) => each.replace(':', ' ') === name);
  if (isCommand && !isHelp) return undefined;
  const isTopic = name !== undefined && !isCommand && (subject[1] ?? '-').startsWith('-');
  const text = isHelp && (subject[0] ?? '').startsWith('-') ? texts[''] : texts[name ?? ' '];
  if (text !== undefined && (isHelp || isTopic)) {
    process.stdout.write(text);
    return 0;
  }
  process.stderr.write(`piw: ${unknownCommand(subject)}\n`);
  return 2;
}

import { stripTerminalSequences } from '../../failures/terminal-sequences.js';

/**
 * Returns text that a build has written, for a terminal: without sequences and characters that would move the cursor,
 * change colours or the title, or reverse what follows. Line ends and tabs stay.
 */
export const printable = (text: string): string =>
  stripTerminalSequences(text)
    .replace(/\r\n/g, '\n')
    // eslint-disable-next-line no-control-regex
    .replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, ' ');

/** Returns the lines of a log as slaves count them: those that aren't empty. */
export const outputLines = (output: string): readonly string[] =>
  output.split(/\r?\n|\r/).filter((line) => line.trim() !== '');

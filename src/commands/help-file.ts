import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The help texts by the words after `piw`: of each command and topic, of `exit-codes`, and the overview under ''. */
export type HelpTexts = Readonly<Record<string, string>>;

/** The help texts, written when the program is compiled: rendering them takes loading oclif and the commands. */
const FILE = fileURLToPath(new URL('../../help.json', import.meta.url));

/** Returns the help texts; undefined if they have not been written. */
export function readHelpTexts(): HelpTexts | undefined {
  try {
    return JSON.parse(readFileSync(FILE, 'utf8')) as HelpTexts;
  } catch {
    return undefined;
  }
}

export function writeHelpTexts(texts: HelpTexts): void {
  writeFileSync(`${FILE}.new`, JSON.stringify(texts));
  renameSync(`${FILE}.new`, FILE);
}

import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { ROOT } from '../root.js';

/** The help texts by the words after `piw`: of each command and topic, of `exit-codes`, and the overview under ''. */
export type HelpTexts = Readonly<Record<string, string>>;

/** What is rendered when the program is compiled, because rendering it takes loading oclif and every command. */
interface RenderedTexts {
  readonly help: HelpTexts;
  /** The scripts of piw completion, by shell. */
  readonly completion: Readonly<Record<string, string>>;
}

const FILE = `${ROOT}dist/run/help.json`;

/** Returns the help texts; undefined if they have not been written. */
export const readHelpTexts = (): HelpTexts | undefined => readTexts()?.help;

export const readCompletionScripts = (): RenderedTexts['completion'] | undefined => readTexts()?.completion;

function readTexts(): RenderedTexts | undefined {
  try {
    return JSON.parse(readFileSync(FILE, 'utf8')) as RenderedTexts;
  } catch {
    return undefined;
  }
}

export function writeTexts(texts: RenderedTexts): void {
  writeFileSync(`${FILE}.new`, JSON.stringify(texts));
  renameSync(`${FILE}.new`, FILE);
}

import { HelpBase, ux } from '@oclif/core';
import { readHelpTexts } from './help-file.js';
import { renderHelpTexts } from './help-texts.js';

/** Shows help where oclif finds that it is asked for: the text that entry.ts shows without oclif. */
export default class PiwHelp extends HelpBase {
  async showHelp(words: readonly string[]): Promise<void> {
    const texts = readHelpTexts() ?? (await renderHelpTexts(this.config));
    const name = words.flatMap((word) => word.split(':')).filter((word) => !word.startsWith('-'));
    ux.stdout(texts[name.slice(0, 2).join(' ')] ?? texts[name[0] ?? ''] ?? texts[''] ?? '');
  }

  showCommandHelp({ id }: { readonly id: string }): Promise<void> {
    return this.showHelp([id]);
  }
}

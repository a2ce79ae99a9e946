import { Args } from '@oclif/core';
import { PiwError } from '../errors.js';
import { EXIT_CODES, PiwCommand } from './base.js';
import { SHELLS } from './completion/scripts.js';
import { readCompletionScripts } from './help-file.js';

export default class Completion extends PiwCommand {
  static override summary = 'Print the script that completes piw command lines in bash, zsh or fish.';
  static override description = `The shell reads the script at its start. It completes the names of commands and
options, and values that are one of a few words.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> completion bash > ~/.local/share/bash-completion/completions/piw',
    '<%= config.bin %> completion fish > ~/.config/fish/completions/piw.fish',
    'source <(<%= config.bin %> completion zsh)',
  ];
  static override args = {
    shell: Args.string({
      ignoreStdin: true,
      required: true,
      options: SHELLS,
      description: SHELLS.join(', '),
    }),
  };

  static override flags = {};

  protected override readonly usesRunningFarm = false;

  async run(): Promise<void> {
    const { args } = await this.parse(Completion);
    const script = readCompletionScripts()?.[args.shell];
    if (script === undefined)
      throw new PiwError('PIW_INTERNAL', 'dist/run/help.json is missing: npm run build writes it');
    process.stdout.write(script);
  }
}

/** Writes the help texts and the completion scripts: the last step of compiling the program (src/setup/compile.mjs). */
import { Config } from '@oclif/core';
import { renderCompletionScripts } from './completion/render.js';
import { writeTexts } from './help-file.js';
import { renderHelpTexts } from './help-texts.js';
import { ROOT } from '../root.js';

const help = await renderHelpTexts(await Config.load({ root: ROOT }));
writeTexts({ help, completion: await renderCompletionScripts() });
process.exit();

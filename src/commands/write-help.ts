/** Writes the help texts: the last step of compiling the program (src/setup/compile.mjs). */
import { fileURLToPath } from 'node:url';
import { Config } from '@oclif/core';
import { writeHelpTexts } from './help-file.js';
import { renderHelpTexts } from './help-texts.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
writeHelpTexts(await renderHelpTexts(await Config.load({ root })));
process.exit();

/**
 * Writes the help texts, the completion scripts and the manual pages: the last step of compiling the program
 * (src/setup/compile.mjs).
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { Config } from '@oclif/core';
import { renderCompletionScripts } from './completion/render.js';
import { writeTexts } from './help-file.js';
import { renderHelpTexts } from './help-texts.js';
import { renderManPages } from './man-pages.js';
import { ROOT } from '../root.js';

const MAN_FOLDER = `${ROOT}dist/man`;

const config = await Config.load({ root: ROOT });
rmSync(MAN_FOLDER, { recursive: true, force: true });
mkdirSync(MAN_FOLDER, { recursive: true });
for (const [file, page] of Object.entries(await renderManPages(String(config.pjson.description))))
  writeFileSync(`${MAN_FOLDER}/${file}`, page);
// The last one, because the program counts as compiled when it exists.
writeTexts({ help: await renderHelpTexts(config), completion: await renderCompletionScripts() });
process.exit();

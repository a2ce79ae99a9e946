import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { readConfigFile } from '../settings/config-file.js';
import { isForEverybody } from '../settings/secret-file.js';
import type { Check, DoctorContext, Finding } from './check.js';

/** Text of the samples in config/ and docs/ that is to be replaced. */
const PLACEHOLDER =
  /\b(?:\w+\.)*example\.(?:org|com|net)\b|\b(?:ROUTE|LEAF)_SECRET\b|:(?:SECRET|OTHER|PASSWORD)@|\b(?:CHANGE|REPLACE)[_-]?ME\b/;
/** A password or key that a line contains itself. */
const INLINE_SECRET = /:\/\/[^/@\s:]*:[^/@\s]+@|^\s*nkey\s*=\s*\S|\bpassword\s*[:=]\s*["']?[^\s"'$]/;

/** The folders with the configuration of the farm's servers, and what their files are called. */
const SERVER_FILES = [
  ['etc/nats', /\.conf$/],
  ['etc/nginx/sites-enabled', /piw/],
  ['etc/apache2/sites-enabled', /piw/],
] as const;

export const placeholders: Check = {
  name: 'placeholders',
  applies: () => true,
  run: (context) =>
    readableFiles(context).flatMap((file) => {
      const line = linesOf(file).find(([, text]) => PLACEHOLDER.test(text));
      if (line === undefined) return [];
      const [number, text] = line;
      const placeholder = PLACEHOLDER.exec(text)?.[0] ?? '';
      return [
        {
          problem: `${file}, line ${number}: "${placeholder}" of the sample was not replaced`,
          fix: `put your own value into line ${number} of ${file}`,
        },
      ];
    }),
};

export const exposedSecrets: Check = {
  name: 'secrets',
  applies: () => true,
  run: (context) =>
    readableFiles(context).flatMap((file): readonly Finding[] => {
      const line = isForEverybody(file)
        ? linesOf(file).find(([, text]) => INLINE_SECRET.test(text))
        : undefined;
      if (line === undefined) return [];
      return [
        { problem: `${file}, line ${line[0]}: everybody can read the secret in it`, fix: `chmod o= ${file}` },
      ];
    }),
};

/** Returns the lines of a file that are not comments, with their numbers, counted from 1. */
const linesOf = (file: string): readonly (readonly [number, string])[] =>
  readConfigFile(file)
    .split('\n')
    .map((text, i) => [i + 1, text] as const)
    .filter(([, text]) => !/^\s*#/.test(text));

/** Returns the configuration files of piw and of the farm's servers that this user can read. */
function readableFiles({ files, systemRoot }: DoctorContext): readonly string[] {
  const ofServers = SERVER_FILES.flatMap(([folder, pattern]) =>
    namesIn(join(systemRoot, folder))
      .filter((name) => pattern.test(name))
      .map((name) => join(systemRoot, folder, name)),
  );
  return [...files, ...ofServers].filter((file) => {
    try {
      return readFileSync(file).length > 0;
    } catch {
      return false;
    }
  });
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Provenance } from '../protocols/fields.js';
import type { Interpreter } from './interpreter.js';
import { LAUNCHER_FOLDER } from './launcher.js';

/** What pip prints when it has installed what a build requires. */
const INSTALLED_REQUIREMENTS = /^\s*Successfully installed ([^\n]{1,20000})$/gm;
const MAX_REQUIREMENTS = 500;
const MAX_TEXT_CHARS = 200;
/** Bytes of the launcher's notes that are read. */
const MAX_NOTES_CHARS = 2000;

/**
 * Returns what a build was made from and with: the source that the launcher noted in the build's folder, and what pip
 * says in `output` that it installed. A build could write both, so this is the slave's word, as its wheels are. What
 * doesn't fit the message is left out.
 */
export async function provenanceOf(
  folder: string,
  output: string,
  { implementation, version, pipVersion }: Interpreter,
): Promise<Provenance> {
  const { sdist, epoch } = parseSourceNotes(
    await readFile(join(folder, LAUNCHER_FOLDER, 'source.json'), 'utf8').catch(() => ''),
  );
  const requirements = new Map<string, string>();
  for (const [, list = ''] of output.matchAll(INSTALLED_REQUIREMENTS))
    for (const item of list.trim().split(/\s+/)) {
      const dash = item.lastIndexOf('-');
      const [name, installedVersion] = [item.slice(0, dash), item.slice(dash + 1)];
      const sound =
        dash > 0 && SAFE_WORD.test(name) && SAFE_WORD.test(installedVersion) && item.length <= MAX_TEXT_CHARS;
      if (sound && requirements.size < MAX_REQUIREMENTS) requirements.set(name, installedVersion);
    }
  return {
    sdist,
    python: `${implementation} ${version}`.slice(0, MAX_TEXT_CHARS),
    pip: pipVersion.slice(0, MAX_TEXT_CHARS),
    requirements: [...requirements].sort(([a], [b]) => (a < b ? -1 : 1)),
    source_date_epoch: epoch,
  };
}

const SAFE_WORD = /^[\w.+!-]+$/;

function parseSourceNotes(text: string): {
  readonly sdist: [filename: string, sha256: string] | null;
  readonly epoch: number | null;
} {
  const nothing = { sdist: null, epoch: null };
  if (text === '' || text.length > MAX_NOTES_CHARS) return nothing;
  try {
    const notes: unknown = JSON.parse(text);
    if (!Array.isArray(notes)) return nothing;
    const [filename, sha256, epoch] = notes as readonly unknown[];
    const sound =
      typeof filename === 'string' &&
      /^[\w.+!-]{1,255}$/.test(filename) &&
      typeof sha256 === 'string' &&
      /^[0-9a-f]{64}$/.test(sha256);
    return {
      sdist: sound ? [filename, sha256] : null,
      epoch: Number.isSafeInteger(epoch) && Number(epoch) >= 0 ? Number(epoch) : null,
    };
  } catch {
    // Cut off, or written by the build.
    return nothing;
  }
}

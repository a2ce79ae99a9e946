import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Provenance } from '../model/fields.js';
import type { Interpreter } from './interpreter.js';
import { LAUNCHER_FOLDER } from './launcher.js';

/** pip's line about the build requirements that it has installed. */
const INSTALLED_REQUIREMENTS = /^\s*Successfully installed ([^\n]{1,20000})$/gm;
const MAX_REQUIREMENTS = 500;
const MAX_TEXT_CHARS = 200;
/** Longer notes are not the launcher's and are ignored. */
const MAX_NOTES_CHARS = 2000;

/**
 * Returns the source and the tools of a build: the source from the launcher's notes in the build's folder, and the
 * requirements that pip reports in `output` as installed. A build can forge both, so this is as trustworthy as the
 * wheels themselves. Leaves out what does not fit the message.
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
      const valid =
        dash > 0 && SAFE_WORD.test(name) && SAFE_WORD.test(installedVersion) && item.length <= MAX_TEXT_CHARS;
      if (valid && requirements.size < MAX_REQUIREMENTS) requirements.set(name, installedVersion);
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
    const valid =
      typeof filename === 'string' &&
      /^[\w.+!-]{1,255}$/.test(filename) &&
      typeof sha256 === 'string' &&
      /^[0-9a-f]{64}$/.test(sha256);
    return {
      sdist: valid ? [filename, sha256] : null,
      epoch: Number.isSafeInteger(epoch) && Number(epoch) >= 0 ? Number(epoch) : null,
    };
  } catch {
    // Truncated, or written by the build.
    return nothing;
  }
}

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PiwError, hasCode } from '../errors.js';
import type { FileState } from '../model/file-state.js';
import { normalise } from '../wheels/names.js';
import { sameVersion } from '../wheels/versions.js';
import { describeWheel } from '../wheels/wheel.js';
import type { BuildFolder } from './environment.js';
import type { Evidence, Failure } from './failure.js';
import { describeMissingParts, type BuiltWheel } from './incomplete.js';
import { inspectNativeCode } from './natives.js';

/** The maximum number of files in the message about a build (Files in model/fields.ts). */
const MAX_WHEELS = 100;

export interface BuiltFile extends FileState {
  readonly path: string;
}

/** The wheels of a successful build, and a remark about what they lack, if anything. */
export interface SuccessfulBuild {
  readonly files: readonly BuiltFile[];
  readonly remark: string | null;
}

/** Returns the wheels that a build has made, after verifying each against its filename; else why they are rejected. */
export async function collectWheels(
  folder: BuildFolder,
  evidence: Evidence,
): Promise<Failure | SuccessfulBuild> {
  const { name, version } = evidence;
  // The build could write here, too: everything but regular files is ignored.
  const entries = await readdir(folder.wheelDir, { withFileTypes: true }).catch(() => []);
  const filenames = entries.flatMap((entry) =>
    entry.isFile() && entry.name.endsWith('.whl') ? [entry.name] : [],
  );
  if (filenames.length === 0)
    return { failureClass: 'no-wheel', sentence: 'pip succeeded but made no wheel' };
  if (filenames.length > MAX_WHEELS) {
    const sentence = `it made ${filenames.length} wheels; the limit is ${MAX_WHEELS}`;
    return { failureClass: 'wrong-wheel', sentence };
  }
  try {
    const files: BuiltFile[] = [];
    const builtWheels: BuiltWheel[] = [];
    for (const filename of filenames.sort()) {
      const path = join(folder.wheelDir, filename);
      const file = await describeWheel(path);
      // Filenames have `_` for `-`.
      const wheelVersion = file.package_version_tag.replaceAll('_', '-');
      if (normalise(file.package_tag) !== name || !sameVersion(wheelVersion, version.replaceAll('_', '-')))
        throw new PiwError('PIW_BAD_WHEEL', `${filename} is not a wheel of ${name} ${version}`);
      const { dependencies, compiled } = await folder.withScratchFolder((scratch) =>
        inspectNativeCode(path, scratch),
      );
      files.push({ ...file, dependencies, path });
      builtWheels.push({ file, compiled });
    }
    return { files, remark: describeMissingParts(builtWheels, evidence) };
  } catch (error) {
    if (!hasCode(error, 'PIW_BAD_WHEEL')) throw error;
    return { failureClass: 'wrong-wheel', sentence: error.message };
  }
}

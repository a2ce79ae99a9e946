import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { PackageName } from '../wheels/names.js';

/**
 * Runs pip so that its result depends on the source and not on the time: `launch.py PACKAGE WRAPPER pip …`, or with
 * the path of a script in place of `pip`.
 *
 * - The temporary folders in which pip unpacks and builds get numbers instead of random names, because debug
 *   information and `__FILE__` contain the path.
 * - SOURCE_DATE_EPOCH (https://reproducible-builds.org/specs/source-date-epoch/) is the time of the newest file in the
 *   package's source, but not before 1980, where the ZIP format begins; files from the future are ignored. Backends
 *   and compilers use it as the current time. The source is the first file that pip opens whose name begins with the
 *   package's name and has an sdist's suffix; pip passes its environment to the hooks that it runs afterwards.
 * - The source's name, SHA-256 and SOURCE_DATE_EPOCH are written next to the script: see provenance.ts.
 * - If WRAPPER is not empty, pip uses it as its interpreter (hooks.ts).
 *
 * `-I` keeps anything that a build has left in its home out of this script. What a pip of another version does not
 * use has no effect and causes no failure.
 */
const LAUNCHER_SCRIPT = `
import itertools, json, os, runpy, sys, tempfile, time, uuid

NOTES_PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'source.json')
SDIST_SUFFIXES = ('.tar.gz', '.tgz', '.zip', '.tar.bz2', '.tar.xz', '.tar')
ZIP_EPOCH = 315532800


def member_times(path):
    if path.endswith('.zip'):
        import calendar, zipfile
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if not member.is_dir():
                    yield calendar.timegm(member.date_time + (0, 0, 0))
    else:
        import tarfile
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile():
                    yield int(member.mtime)


def newest_member_time(path):
    now = time.time()
    try:
        return max((mtime for mtime in member_times(path) if ZIP_EPOCH <= mtime <= now), default=ZIP_EPOCH)
    except Exception:
        # pip itself reports what is wrong with the archive.
        return ZIP_EPOCH


def write_notes(path):
    import hashlib
    digest = hashlib.sha256()
    try:
        with open(path, 'rb') as archive:
            for block in iter(lambda: archive.read(1 << 20), b''):
                digest.update(block)
        notes = [os.path.basename(path), digest.hexdigest(), int(os.environ['SOURCE_DATE_EPOCH'])]
        with open(NOTES_PATH, 'w') as file:
            json.dump(notes, file)
    except OSError:
        # The provenance then has no source.
        pass


def set_epoch_when_source_opens(package):
    reading = False

    def hook(event, details):
        nonlocal reading
        if event != 'open' or reading or 'SOURCE_DATE_EPOCH' in os.environ:
            return
        path, mode = details[0], details[1]
        if not isinstance(path, str) or mode not in ('r', 'rb') or not path.endswith(SDIST_SUFFIXES):
            return
        name = os.path.basename(path).lower().replace('_', '-').replace('.', '-')
        if name.startswith(package + '-'):
            reading = True
            os.environ['SOURCE_DATE_EPOCH'] = str(newest_member_time(path))
            write_notes(path)
            reading = False

    sys.addaudithook(hook)


tempfile._name_sequence = map('{:08d}'.format, itertools.count(1))
uuid.uuid4 = map(lambda number: uuid.UUID(int=number), itertools.count(1)).__next__
package, python_wrapper = sys.argv[1:3]
del sys.argv[:3]
set_epoch_when_source_opens(package)
if python_wrapper:
    sys.executable = python_wrapper
if sys.argv[0] == 'pip':
    runpy.run_module('pip', run_name='__main__', alter_sys=True)
else:
    runpy.run_path(sys.argv[0], run_name='__main__')
`;

/** The launcher's folder, relative to the build's folder. */
export const LAUNCHER_FOLDER = 'pip';

/** Writes the launcher into its own folder below `folder` and returns that folder. Throws the errors of Node. */
export async function writeLauncher(folder: string): Promise<string> {
  const launcherFolder = join(folder, LAUNCHER_FOLDER);
  await mkdir(launcherFolder, { recursive: true, mode: 0o700 });
  await writeFile(join(launcherFolder, 'launch.py'), LAUNCHER_SCRIPT, { mode: 0o600 });
  return launcherFolder;
}

/**
 * Returns the beginning of a command line that runs pip for this package; pip's arguments follow. `launcherFolder` is
 * the result of writeLauncher().
 */
export function pipCommand(
  python: string,
  launcherFolder: string,
  name: PackageName,
  pythonWrapper = '',
): readonly string[] {
  return [python, '-I', join(launcherFolder, 'launch.py'), name, pythonWrapper, 'pip'];
}

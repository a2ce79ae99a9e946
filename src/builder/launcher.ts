import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { PackageName } from '../wheels/names.js';

/**
 * Runs pip so that what it builds depends on the source and not on the moment: `launch.py PACKAGE STAND-IN pip …`, or
 * the file that is named in the place of `pip`.
 *
 * - Its temporary folders, in which it unpacks and builds, are numbered, where pip takes random names: debug
 *   information and `__FILE__` have the path.
 * - SOURCE_DATE_EPOCH (https://reproducible-builds.org/specs/source-date-epoch/) is the time of the newest file in the
 *   package's source, from 1980 on, where ZIP begins; files from the future don't count. Backends and compilers take
 *   it for the current time. What pip opens as the first file that has the package's name and an sdist's ending is
 *   the source; pip passes its variables on to the hooks that it runs after that.
 * - The source's name, SHA-256 and SOURCE_DATE_EPOCH are noted beside the script: see provenance.ts.
 * - With a stand-in that isn't empty, pip takes it for its interpreter (hooks.ts).
 *
 * `-I` keeps out of it whatever a build has left in its home. Everything here that a pip of another version does not
 * want is without effect, and fails nothing.
 */
const LAUNCHER_SCRIPT = `
import itertools, json, os, runpy, sys, tempfile, time, uuid

NOTES = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'source.json')
ENDINGS = ('.tar.gz', '.tgz', '.zip', '.tar.bz2', '.tar.xz', '.tar')
ZIP_BEGINS = 315532800


def times(path):
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


def newest(path):
    now = time.time()
    try:
        return max((when for when in times(path) if ZIP_BEGINS <= when <= now), default=ZIP_BEGINS)
    except Exception:
        # pip itself will say what is wrong with it.
        return ZIP_BEGINS


def note(path):
    import hashlib
    digest = hashlib.sha256()
    try:
        with open(path, 'rb') as archive:
            for piece in iter(lambda: archive.read(1 << 20), b''):
                digest.update(piece)
        facts = [os.path.basename(path), digest.hexdigest(), int(os.environ['SOURCE_DATE_EPOCH'])]
        with open(NOTES, 'w') as file:
            json.dump(facts, file)
    except OSError:
        # What is not known of the source is left out.
        pass


def date_by(package):
    reading = False

    def hook(event, details):
        nonlocal reading
        if event != 'open' or reading or 'SOURCE_DATE_EPOCH' in os.environ:
            return
        path, mode = details[0], details[1]
        if not isinstance(path, str) or mode not in ('r', 'rb') or not path.endswith(ENDINGS):
            return
        name = os.path.basename(path).lower().replace('_', '-').replace('.', '-')
        if name.startswith(package + '-'):
            reading = True
            os.environ['SOURCE_DATE_EPOCH'] = str(newest(path))
            note(path)
            reading = False

    sys.addaudithook(hook)


tempfile._name_sequence = map('{:08d}'.format, itertools.count(1))
uuid.uuid4 = map(lambda number: uuid.UUID(int=number), itertools.count(1)).__next__
package, stand_in = sys.argv[1:3]
del sys.argv[:3]
date_by(package)
if stand_in:
    sys.executable = stand_in
if sys.argv[0] == 'pip':
    runpy.run_module('pip', run_name='__main__', alter_sys=True)
else:
    runpy.run_path(sys.argv[0], run_name='__main__')
`;

/** The folder of the launcher, below that of the build. */
export const LAUNCHER_FOLDER = 'pip';

/** Writes it into a folder of its own below the one that is given, and returns that. Raises what Node does. */
export async function writeLauncher(folder: string): Promise<string> {
  const launcherFolder = join(folder, LAUNCHER_FOLDER);
  await mkdir(launcherFolder, { recursive: true, mode: 0o700 });
  await writeFile(join(launcherFolder, 'launch.py'), LAUNCHER_SCRIPT, { mode: 0o600 });
  return launcherFolder;
}

/** The beginning of a command line (its arguments are pip's) that builds this package; `kept` is writeLauncher()'s. */
export function pipCommand(
  python: string,
  launcherFolder: string,
  name: PackageName,
  pythonWrapper = '',
): readonly string[] {
  return [python, '-I', join(launcherFolder, 'launch.py'), name, pythonWrapper, 'pip'];
}

import { randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** The variable by which every process of a build is known, also one that has left its group. */
export const MARK = 'PIW_BUILD';

/** Nothing else of the slave's own environment reaches a build. */
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * The folder of one build, with a home and a temporary folder of its own, and its environment:
 *
 *   PATH     the system's, and the interpreter's folder before it
 *   HOME, TMPDIR, XDG_CACHE_HOME, XDG_CONFIG_HOME, XDG_DATA_HOME   in the build's folder
 *   LANG     C.UTF-8
 *   PIW_BUILD  the build's own mark
 *   and what the farm hands in: how pip reaches the index (addresses, certificates, proxies)
 */
export class BuildFolder {
  readonly path: string;
  readonly mark: string;
  readonly env: Readonly<Record<string, string>>;

  private constructor(path: string, python: string, given: Readonly<Record<string, string>>) {
    this.path = path;
    this.mark = randomBytes(12).toString('hex');
    const home = join(path, 'home');
    this.env = {
      ...given,
      PATH: `${dirname(python)}:${PATH}`,
      HOME: home,
      TMPDIR: join(path, 'tmp'),
      XDG_CACHE_HOME: join(home, '.cache'),
      XDG_CONFIG_HOME: join(home, '.config'),
      XDG_DATA_HOME: join(home, '.local', 'share'),
      LANG: 'C.UTF-8',
      // The files of other configurations would be read as well.
      PIP_CONFIG_FILE: '/dev/null',
      [MARK]: this.mark,
    };
  }

  static async create(
    workDir: string,
    python: string,
    given: Readonly<Record<string, string>>,
  ): Promise<BuildFolder> {
    await mkdir(workDir, { recursive: true, mode: 0o700 });
    const folder = new BuildFolder(await mkdtemp(join(workDir, 'build-')), python, given);
    for (const name of ['home', 'tmp', 'wheels']) await mkdir(join(folder.path, name), { mode: 0o700 });
    return folder;
  }

  get wheels(): string {
    return join(this.path, 'wheels');
  }

  /** Removes all of it, also what the build made read-only. */
  async wipe(): Promise<void> {
    await wipe(this.path);
  }
}

/** Removes what builds of a slave that was killed have left. */
export async function wipeLeftovers(workDir: string): Promise<void> {
  const names = await readdir(workDir).catch(() => []);
  for (const name of names) if (name.startsWith('build-')) await wipe(join(workDir, name));
}

async function wipe(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true, maxRetries: 3 });
  } catch {
    // A folder without its write permission can't be emptied; ours to give it back.
    await unlock(path);
    await rm(path, { recursive: true, force: true, maxRetries: 3 });
  }
}

async function unlock(path: string): Promise<void> {
  await chmod(path, 0o700);
  for (const entry of await readdir(path, { withFileTypes: true })) {
    if (entry.isDirectory()) await unlock(join(path, entry.name));
  }
}

import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { errorMessage } from '../../src/errors.js';

/** The names that Chromium may have on PATH. */
const CHROMIUM_NAMES = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome', 'chrome'];
/** Arguments for a Chromium on PATH, which needs them in containers. */
const CONTAINER_ARGS = ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'];

/**
 * Arguments of the packed Chromium that tests don't want: as a single process the browser ends with its first page,
 * and the others turn off the web's security rules.
 */
const EXCLUDED_ARGS = ['--single-process', '--disable-web-security', '--allow-running-insecure-content'];

interface Playwright {
  readonly chromium: {
    readonly launch: (options: {
      readonly executablePath: string;
      readonly args: readonly string[];
      readonly headless: boolean;
    }) => Promise<unknown>;
  };
}
interface PackedChromium {
  readonly default: { executablePath(): Promise<string>; readonly args: readonly string[] };
}

/**
 * Starts a real headless browser and returns it as playwright's `Browser`: the Chromium from npm's packages, or, if
 * there is none for this architecture or it doesn't start, one on PATH. Its packages are development dependencies,
 * and are not imported statically, so that a benchmark does not need their types. Throws if no Chromium starts.
 */
export async function startBrowser(): Promise<unknown> {
  const failures: string[] = [];
  const { chromium } = await importPackage<Playwright>('playwright-core');
  const launch = (executablePath: string, args: readonly string[]): Promise<unknown> =>
    chromium.launch({ executablePath, args, headless: true });
  if (process.arch === 'x64') {
    try {
      const packed = (await importPackage<PackedChromium>('@sparticuz/chromium')).default;
      const args = packed.args.filter((arg) => !EXCLUDED_ARGS.includes(arg));
      return await launch(await packed.executablePath(), args);
    } catch (error) {
      failures.push(errorMessage(error));
    }
  }
  for (const path of chromiumsOnPath()) {
    try {
      return await launch(path, CONTAINER_ARGS);
    } catch (error) {
      failures.push(`${path}: ${errorMessage(error)}`);
    }
  }
  throw new Error(
    `no Chromium starts: neither that of npm's @sparticuz/chromium (x64 only) nor one on PATH (apt install chromium) ${failures.join('; ')}`,
  );
}

async function importPackage<T>(name: string): Promise<T> {
  try {
    return (await import(name)) as T;
  } catch (error) {
    throw new Error(`npm's ${name} is not installed: run npm ci`, { cause: error });
  }
}

function chromiumsOnPath(): string[] {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  return folders
    .flatMap((folder) => CHROMIUM_NAMES.map((name) => join(folder, name)))
    .filter((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

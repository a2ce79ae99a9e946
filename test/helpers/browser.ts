import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { errorMessage } from '../../src/errors.js';

/** What a Chromium on PATH may be called. */
const CHROMIUM_NAMES = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome', 'chrome'];
/** For one on PATH; in containers it needs them. */
const CONTAINER_ARGS = ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'];

/** In one process with its pages it ends when the first of them does; and the web's own rules are to hold. */
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
 * A real browser without a window, as playwright's `Browser`: the Chromium that comes with npm's packages, or, where
 * there is none for this processor or it doesn't start, one on PATH. Its packages are development dependencies; so
 * that a benchmark can do without their types, they are not imported by name. Throws where there is none.
 */
export async function startBrowser(): Promise<unknown> {
  const failures: string[] = [];
  const { chromium } = await importPackage<Playwright>('playwright-core');
  const launch = (executablePath: string, args: readonly string[]): Promise<unknown> =>
    chromium.launch({ executablePath, args, headless: true });
  if (process.arch === 'x64') {
    try {
      const packed = (await importPackage<PackedChromium>('@sparticuz/chromium')).default;
      const args = packed.args.filter((one) => !EXCLUDED_ARGS.includes(one));
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
    `no Chromium starts here, neither that of npm's @sparticuz/chromium (x64 only) nor one on PATH (apt install chromium) ${failures.join('; ')}`,
  );
}

async function importPackage<T>(name: string): Promise<T> {
  try {
    return (await import(name)) as T;
  } catch (error) {
    throw new Error(`npm's ${name} is not installed: npm ci installs it`, { cause: error });
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

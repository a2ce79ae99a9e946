import { deepStrictEqual, ok } from 'node:assert/strict';
import type { RequestSummary, InstallerSession } from './session.js';
import { DEEP } from './shelf.js';

/** Something that a client has to be able to do; throws an error with the reason if it fails. */
export type Check = (session: InstallerSession) => Promise<void>;
export type Checks = Readonly<Record<string, Check>>;

export const APP_INSTALLED = {
  'shelf-app': '1.0',
  'shelf-demo': '1.2+local.1',
  'shelf-lib': '1.3',
};
export const APP_FILES = [
  'Shelf.Lib-1.3-py3-none-any.whl',
  'shelf_app-1.0-py3-none-any.whl',
  'shelf_demo-1.2+local.1-py3-none-any.whl',
];
export const BACKTRACKED = {
  'shelf-deep': `${DEEP.installableCount}.0`,
  'shelf-lib': '1.2',
  'shelf-top': '1.0',
};
export const BACKTRACKED_FILES = [
  'Shelf.Lib-1.2-py3-none-any.whl',
  `shelf_deep-${DEEP.installableCount}.0-py3-none-any.whl`,
  'shelf_top-1.0-py3-none-any.whl',
];
/** A time between the uploads of 1.1 and of newer versions. */
export const UPLOADED_BEFORE = '2024-03-01T00:00:00Z';

/** Writes requirements with a hash each, as `pip hash` prints it, and returns the path. */
function writeHashedRequirements(session: InstallerSession, lines: Readonly<Record<string, string>>): string {
  const text = Object.entries(lines).map(([requirement, file]) => {
    const hash = session.shelf.sha256.get(file);
    if (hash === undefined) throw new Error(`the shelf has no ${file}`);
    return `${requirement} --hash=sha256:${hash}\n`;
  });
  return session.write('requirements.txt', text.join(''));
}

export const correctRequirements = (session: InstallerSession): string =>
  writeHashedRequirements(session, {
    'shelf-app==1.0': 'shelf_app-1.0-py3-none-any.whl',
    'shelf-demo==1.1': 'shelf_demo-1.1-2-py3-none-any.whl',
    'shelf-lib==1.2': 'Shelf.Lib-1.2-py3-none-any.whl',
  });
export const wrongHashRequirements = (session: InstallerSession): string =>
  writeHashedRequirements(session, { 'shelf-lib==1.2': 'Shelf.Lib-1.1-py3-none-any.whl' });

/** Asserts that an installation requested only these pages, and each of these wheels once. */
export function assertOnlyRequested(
  requests: RequestSummary,
  pages: readonly string[],
  wheels: readonly string[],
): void {
  deepStrictEqual(requests.others, [], 'requests for missing or unneeded files');
  deepStrictEqual(requests.pages, [...pages].sort(), 'pages of the simple index');
  deepStrictEqual(requests.wheels, [...wheels].sort(), 'wheels');
}

/** Asserts that releases were examined by their metadata alone. */
export function assertResolvedByMetadata(requests: RequestSummary): void {
  assertOnlyRequested(requests, ['shelf-deep', 'shelf-lib', 'shelf-top'], BACKTRACKED_FILES);
  const tried = requests.metadata.filter((name) => name.startsWith('shelf_deep-'));
  ok(tried.includes(`shelf_deep-${DEEP.releaseCount}.0-py3-none-any.whl`), 'the newest was tried first');
  ok(
    tried.includes(`shelf_deep-${DEEP.installableCount}.0-py3-none-any.whl`),
    'and then the newest installable one',
  );
}

import { deepStrictEqual, match, notStrictEqual, ok } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  APP_INSTALLED,
  APP_FILES,
  BACKTRACKED,
  assertResolvedByMetadata,
  assertOnlyRequested,
  type Checks,
} from './expected.js';
import { YANK_REASON } from './shelf.js';

const poetryProject = (index: string, requirement: string): string => `[project]
name = "a-test"
version = "1"
requires-python = ">=3.9,<4"
dependencies = ["${requirement}"]
[tool.poetry]
package-mode = false
[[tool.poetry.source]]
name = "shelf"
url = "${index}"
priority = "primary"
`;
export const POETRY: Checks = {
  async install(session) {
    session.write('pyproject.toml', poetryProject(session.index, 'shelf-app'));
    await session.runOrThrow('install');
    deepStrictEqual(await session.installed(), APP_INSTALLED);
    assertOnlyRequested(await session.newRequests(), Object.keys(APP_INSTALLED), APP_FILES);
  },
  async 'lock and sync'(session) {
    session.write('pyproject.toml', poetryProject(session.index, 'shelf-app'));
    await session.runOrThrow('lock');
    const lock = readFileSync(join(session.folder, 'work/poetry.lock'), 'utf8');
    for (const name of APP_FILES)
      ok(lock.includes(session.shelf.sha256.get(name) ?? '-'), `the hash of ${name}`);
    deepStrictEqual((await session.newRequests()).wheels, [], 'wheels read for a lock file');
    await session.runOrThrow('sync');
    deepStrictEqual(await session.installed(), APP_INSTALLED);
  },
  async 'by hash'(session) {
    session.write('pyproject.toml', poetryProject(session.index, 'shelf-lib==1.2'));
    await session.runOrThrow('lock');
    const path = join(session.folder, 'work/poetry.lock');
    const [correctHash, otherHash] = ['1.2', '1.1'].map(
      (version) => session.shelf.sha256.get(`Shelf.Lib-${version}-py3-none-any.whl`) ?? '',
    );
    session.write('poetry.lock', readFileSync(path, 'utf8').replaceAll(correctHash ?? '-', otherHash ?? '-'));
    const refused = await session.run('sync');
    notStrictEqual(refused.code, 0);
    match(refused.output, /hash|checksum/i);
  },
  async yanked(session) {
    session.write('pyproject.toml', poetryProject(session.index, 'shelf-demo>=2'));
    const refused = await session.run('lock');
    notStrictEqual(refused.code, 0);
    session.write('pyproject.toml', poetryProject(session.index, 'shelf-demo==2.0'));
    const { output } = await session.runOrThrow('lock');
    ok(output.includes(YANK_REASON), `the reason is not in: ${output}`);
    await session.runOrThrow('sync');
    deepStrictEqual(await session.installed(), { 'shelf-demo': '2.0' });
  },
  async backtracking(session) {
    session.write('pyproject.toml', poetryProject(session.index, 'shelf-top'));
    await session.runOrThrow('install');
    deepStrictEqual(await session.installed(), BACKTRACKED);
    assertResolvedByMetadata(await session.newRequests());
  },
};

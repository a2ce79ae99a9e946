import { deepStrictEqual, match, notStrictEqual, ok } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { APP, APP_FILES, BACKTRACKED, byMetadata, onlyThese, type Checks } from './expected.js';
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
    await session.must('install');
    deepStrictEqual(await session.installed(), APP);
    onlyThese(await session.asked(), Object.keys(APP), APP_FILES);
  },
  async 'lock and sync'(session) {
    session.write('pyproject.toml', poetryProject(session.index, 'shelf-app'));
    await session.must('lock');
    const lock = readFileSync(join(session.folder, 'work/poetry.lock'), 'utf8');
    for (const name of APP_FILES)
      ok(lock.includes(session.shelf.sha256.get(name) ?? '-'), `${name} by its hash`);
    deepStrictEqual((await session.asked()).wheels, [], 'wheels that are read for a lock');
    await session.must('sync');
    deepStrictEqual(await session.installed(), APP);
  },
  async 'by hash'(session) {
    session.write('pyproject.toml', poetryProject(session.index, 'shelf-lib==1.2'));
    await session.must('lock');
    const path = join(session.folder, 'work/poetry.lock');
    const [is, other] = ['1.2', '1.1'].map(
      (one) => session.shelf.sha256.get(`Shelf.Lib-${one}-py3-none-any.whl`) ?? '',
    );
    session.write('poetry.lock', readFileSync(path, 'utf8').replaceAll(is ?? '-', other ?? '-'));
    const refused = await session.run('sync');
    notStrictEqual(refused.code, 0);
    match(refused.output, /hash|checksum/i);
  },
  async yanked(session) {
    session.write('pyproject.toml', poetryProject(session.index, 'shelf-demo>=2'));
    const refused = await session.run('lock');
    notStrictEqual(refused.code, 0);
    session.write('pyproject.toml', poetryProject(session.index, 'shelf-demo==2.0'));
    const { output } = await session.must('lock');
    ok(output.includes(YANK_REASON), `the reason is not in: ${output}`);
    await session.must('sync');
    deepStrictEqual(await session.installed(), { 'shelf-demo': '2.0' });
  },
  async backtracking(session) {
    session.write('pyproject.toml', poetryProject(session.index, 'shelf-top'));
    await session.must('install');
    deepStrictEqual(await session.installed(), BACKTRACKED);
    byMetadata(await session.asked());
  },
};

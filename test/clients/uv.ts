import { deepStrictEqual, match, notStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  APP,
  APP_FILES,
  BACKTRACKED,
  BEFORE,
  byMetadata,
  onlyThese,
  right,
  wrong,
  type Checks,
} from './expected.js';
import { MISSING, YANK_REASON } from './shelf.js';

export const UV: Checks = {
  async install(session) {
    await session.must('pip', 'install', '--index-url', session.index, 'shelf-app');
    deepStrictEqual(await session.installed(), APP);
    onlyThese(await session.asked(), Object.keys(APP), APP_FILES);
  },
  async 'build tag'(session) {
    await session.must('pip', 'install', '--index-url', session.index, 'Shelf_Demo==1.1');
    strictEqual(await session.build('shelf_demo'), '2');
    onlyThese(await session.asked(), ['shelf-demo'], ['shelf_demo-1.1-2-py3-none-any.whl']);
  },
  async 'by hash'(session) {
    await session.must(
      'pip',
      'install',
      '--index-url',
      session.index,
      '--require-hashes',
      '-r',
      right(session),
    );
    deepStrictEqual(await session.installed(), { ...APP, 'shelf-demo': '1.1', 'shelf-lib': '1.2' });
    const refused = await session.run(
      ...[
        'pip',
        'install',
        '--index-url',
        session.index,
        '--reinstall',
        '--require-hashes',
        '-r',
        wrong(session),
      ],
    );
    notStrictEqual(refused.code, 0);
    match(refused.output, /hash/i);
  },
  async 'by date'(session) {
    await session.must(
      'pip',
      'install',
      '--index-url',
      session.index,
      '--exclude-newer',
      BEFORE,
      'shelf-demo',
    );
    deepStrictEqual(await session.installed(), { 'shelf-demo': '1.1' });
    strictEqual(await session.build('shelf_demo'), '2');
  },
  async yanked(session) {
    const refused = await session.run('pip', 'install', '--index-url', session.index, 'shelf-demo>=2');
    notStrictEqual(refused.code, 0);
    const { output } = await session.must('pip', 'install', '--index-url', session.index, 'shelf-demo==2.0');
    ok(output.includes(YANK_REASON), `the reason is not in: ${output}`);
    deepStrictEqual(await session.installed(), { 'shelf-demo': '2.0' });
  },
  async backtracking(session) {
    await session.must('pip', 'install', '--index-url', session.index, 'shelf-top');
    deepStrictEqual(await session.installed(), BACKTRACKED);
    byMetadata(await session.asked());
  },
  async 'missing dependency'(session) {
    await session.must('pip', 'install', '--index-url', session.index, 'shelf-gone');
    deepStrictEqual(await session.installed(), { 'shelf-gone': '2.0' });
    const { others } = await session.asked();
    deepStrictEqual([...new Set(others)], [`GET /simple/${MISSING}/ 404`]);
  },
  async 'compile and sync'(session) {
    session.write('requirements.in', 'shelf-app\n');
    await session.must(
      ...[
        'pip',
        'compile',
        '--index-url',
        session.index,
        '--generate-hashes',
        'requirements.in',
        '-o',
        'all.txt',
      ],
    );
    const all = readFileSync(join(session.folder, 'work/all.txt'), 'utf8');
    for (const name of APP_FILES)
      ok(all.includes(session.shelf.sha256.get(name) ?? '-'), `${name} by its hash`);
    deepStrictEqual((await session.asked()).wheels, [], 'wheels that are read to compile requirements');
    await session.must('pip', 'sync', '--index-url', session.index, '--require-hashes', 'all.txt');
    deepStrictEqual(await session.installed(), APP);
  },
  async 'lock and sync'(session) {
    session.write('pyproject.toml', uvProject(session.index));
    await session.must('lock');
    const lock = readFileSync(join(session.folder, 'work/uv.lock'), 'utf8');
    for (const name of APP_FILES)
      ok(lock.includes(session.shelf.sha256.get(name) ?? '-'), `${name} by its hash`);
    deepStrictEqual((await session.asked()).wheels, [], 'wheels that are read for a lock');
    await session.must('sync', '--locked', '--active');
    deepStrictEqual(await session.installed(), APP);
    deepStrictEqual((await session.asked()).wheels, [...APP_FILES].sort());
  },
};
const uvProject = (index: string): string => `[project]
name = "a-test"
version = "1"
requires-python = ">=3.9"
dependencies = ["shelf-app"]
[[tool.uv.index]]
url = "${index}"
default = true
`;

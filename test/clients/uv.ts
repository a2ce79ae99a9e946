import { deepStrictEqual, match, notStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  APP_INSTALLED,
  APP_FILES,
  BACKTRACKED,
  UPLOADED_BEFORE,
  assertResolvedByMetadata,
  assertOnlyRequested,
  correctRequirements,
  wrongHashRequirements,
  type Checks,
} from './expected.js';
import { MISSING_PROJECT, YANK_REASON } from './shelf.js';

export const UV: Checks = {
  async install(session) {
    await session.runOrThrow('pip', 'install', '--index-url', session.index, 'shelf-app');
    deepStrictEqual(await session.installed(), APP_INSTALLED);
    assertOnlyRequested(await session.newRequests(), Object.keys(APP_INSTALLED), APP_FILES);
  },
  async 'build tag'(session) {
    await session.runOrThrow('pip', 'install', '--index-url', session.index, 'Shelf_Demo==1.1');
    strictEqual(await session.moduleBuild('shelf_demo'), '2');
    assertOnlyRequested(await session.newRequests(), ['shelf-demo'], ['shelf_demo-1.1-2-py3-none-any.whl']);
  },
  async 'by hash'(session) {
    await session.runOrThrow(
      'pip',
      'install',
      '--index-url',
      session.index,
      '--require-hashes',
      '-r',
      correctRequirements(session),
    );
    deepStrictEqual(await session.installed(), { ...APP_INSTALLED, 'shelf-demo': '1.1', 'shelf-lib': '1.2' });
    const refused = await session.run(
      ...[
        'pip',
        'install',
        '--index-url',
        session.index,
        '--reinstall',
        '--require-hashes',
        '-r',
        wrongHashRequirements(session),
      ],
    );
    notStrictEqual(refused.code, 0);
    match(refused.output, /hash/i);
  },
  async 'by date'(session) {
    await session.runOrThrow(
      'pip',
      'install',
      '--index-url',
      session.index,
      '--exclude-newer',
      UPLOADED_BEFORE,
      'shelf-demo',
    );
    deepStrictEqual(await session.installed(), { 'shelf-demo': '1.1' });
    strictEqual(await session.moduleBuild('shelf_demo'), '2');
  },
  async yanked(session) {
    const refused = await session.run('pip', 'install', '--index-url', session.index, 'shelf-demo>=2');
    notStrictEqual(refused.code, 0);
    const { output } = await session.runOrThrow(
      'pip',
      'install',
      '--index-url',
      session.index,
      'shelf-demo==2.0',
    );
    ok(output.includes(YANK_REASON), `the reason is not in: ${output}`);
    deepStrictEqual(await session.installed(), { 'shelf-demo': '2.0' });
  },
  async backtracking(session) {
    await session.runOrThrow('pip', 'install', '--index-url', session.index, 'shelf-top');
    deepStrictEqual(await session.installed(), BACKTRACKED);
    assertResolvedByMetadata(await session.newRequests());
  },
  async 'missing dependency'(session) {
    await session.runOrThrow('pip', 'install', '--index-url', session.index, 'shelf-gone');
    deepStrictEqual(await session.installed(), { 'shelf-gone': '2.0' });
    const { others } = await session.newRequests();
    deepStrictEqual([...new Set(others)], [`GET /simple/${MISSING_PROJECT}/ 404`]);
  },
  async 'compile and sync'(session) {
    session.write('requirements.in', 'shelf-app\n');
    await session.runOrThrow(
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
    const compiled = readFileSync(join(session.folder, 'work/all.txt'), 'utf8');
    for (const name of APP_FILES)
      ok(compiled.includes(session.shelf.sha256.get(name) ?? '-'), `the hash of ${name}`);
    deepStrictEqual((await session.newRequests()).wheels, [], 'wheels read to compile requirements');
    await session.runOrThrow('pip', 'sync', '--index-url', session.index, '--require-hashes', 'all.txt');
    deepStrictEqual(await session.installed(), APP_INSTALLED);
  },
  async 'lock and sync'(session) {
    session.write('pyproject.toml', uvProject(session.index));
    await session.runOrThrow('lock');
    const lock = readFileSync(join(session.folder, 'work/uv.lock'), 'utf8');
    for (const name of APP_FILES)
      ok(lock.includes(session.shelf.sha256.get(name) ?? '-'), `the hash of ${name}`);
    deepStrictEqual((await session.newRequests()).wheels, [], 'wheels read for a lock file');
    await session.runOrThrow('sync', '--locked', '--active');
    deepStrictEqual(await session.installed(), APP_INSTALLED);
    deepStrictEqual((await session.newRequests()).wheels, [...APP_FILES].sort());
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

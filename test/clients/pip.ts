import { deepStrictEqual, match, notStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256 } from '../helpers/wheel.js';
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

/** Checks for every version of pip. */
export const PIP: Checks = {
  async install(session) {
    await session.runOrThrow('install', '--index-url', session.index, 'shelf-app');
    deepStrictEqual(await session.installed(), APP_INSTALLED);
    assertOnlyRequested(await session.newRequests(), Object.keys(APP_INSTALLED), APP_FILES);
  },
  async 'build tag'(session) {
    await session.runOrThrow('install', '--index-url', session.index, 'Shelf_Demo==1.1');
    strictEqual(await session.moduleBuild('shelf_demo'), '2');
    assertOnlyRequested(await session.newRequests(), ['shelf-demo'], ['shelf_demo-1.1-2-py3-none-any.whl']);
  },
  async 'by hash'(session) {
    await session.runOrThrow(
      'install',
      '--index-url',
      session.index,
      '--require-hashes',
      '-r',
      correctRequirements(session),
    );
    deepStrictEqual(await session.installed(), { ...APP_INSTALLED, 'shelf-demo': '1.1', 'shelf-lib': '1.2' });
    const refused = await session.run(
      'install',
      '--index-url',
      session.index,
      '--force-reinstall',
      '-r',
      wrongHashRequirements(session),
    );
    notStrictEqual(refused.code, 0);
    match(refused.output, /DO NOT MATCH THE HASHES|hash/i);
  },
  async download(session) {
    const folder = join(session.folder, 'downloads');
    await session.runOrThrow('download', '--index-url', session.index, '-d', folder, 'shelf-app');
    deepStrictEqual(readdirSync(folder).sort(), APP_FILES);
    for (const name of APP_FILES)
      strictEqual(sha256(await readFile(join(folder, name))), session.shelf.sha256.get(name), name);
    assertOnlyRequested(await session.newRequests(), Object.keys(APP_INSTALLED), APP_FILES);
  },
  async versions(session) {
    const { stdout } = await session.runOrThrow(
      'index',
      'versions',
      '--index-url',
      session.index,
      'shelf-demo',
    );
    match(stdout, /^Available versions: (2\.0, )?1\.2\+local\.1, 1\.1, 1\.0$/m);
    assertOnlyRequested(await session.newRequests(), ['shelf-demo'], []);
  },
  async yanked(session) {
    const refused = await session.run('install', '--index-url', session.index, 'shelf-demo>=2');
    notStrictEqual(refused.code, 0);
    const { output } = await session.runOrThrow('install', '--index-url', session.index, 'shelf-demo==2.0');
    ok(output.includes(YANK_REASON), `the reason is not in: ${output}`);
    deepStrictEqual(await session.installed(), { 'shelf-demo': '2.0' });
  },
  async 'missing dependency'(session) {
    await session.runOrThrow('install', '--index-url', session.index, 'shelf-gone');
    deepStrictEqual(await session.installed(), { 'shelf-gone': '2.0' });
    const { others, pages } = await session.newRequests();
    deepStrictEqual(pages, ['shelf-gone']);
    deepStrictEqual([...new Set(others)], [`GET /simple/${MISSING_PROJECT}/ 404`]);
  },
};
/** Checks for versions of pip that don't know `.metadata` files and read every candidate wheel. */
export const PIP_BY_WHEEL: Checks = {
  async backtracking(session) {
    await session.runOrThrow('install', '--index-url', session.index, 'shelf-top');
    deepStrictEqual(await session.installed(), BACKTRACKED);
  },
};
/** Checks for versions of pip that read `.metadata` files. */
export const PIP_BY_METADATA: Checks = {
  async backtracking(session) {
    await session.runOrThrow('install', '--index-url', session.index, 'shelf-top');
    deepStrictEqual(await session.installed(), BACKTRACKED);
    assertResolvedByMetadata(await session.newRequests());
  },
};
export const PIP_NEWEST: Checks = {
  async 'by date'(session) {
    await session.runOrThrow(
      'install',
      '--index-url',
      session.index,
      '--uploaded-prior-to',
      UPLOADED_BEFORE,
      'shelf-demo',
    );
    deepStrictEqual(await session.installed(), { 'shelf-demo': '1.1' });
    strictEqual(await session.moduleBuild('shelf_demo'), '2');
  },
  async 'lock and sync'(session) {
    await session.runOrThrow('lock', '--index-url', session.index, '-o', 'pylock.toml', 'shelf-app');
    const lock = readFileSync(join(session.folder, 'work/pylock.toml'), 'utf8');
    for (const name of APP_FILES)
      ok(lock.includes(session.shelf.sha256.get(name) ?? '-'), `the hash of ${name}`);
    await session.runOrThrow('install', '--index-url', session.index, '-r', 'pylock.toml');
    deepStrictEqual(await session.installed(), APP_INSTALLED);
  },
};

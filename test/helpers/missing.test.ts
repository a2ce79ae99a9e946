import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';

process.env['PIW_TEST_FETCH_S'] = '2';
const { debianFiles } = await import('./debian.js');
const { skipUnlessInstalled, MissingPrerequisite, orSkipReason } = await import('./missing.js');

/** Puts a program with this name and this script at the front of PATH. */
function prependToPath(program: string, script: string): void {
  const folder = mkdtempSync(join(tmpdir(), 'piw-program-'));
  writeFileSync(join(folder, program), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  process.env['PATH'] = `${folder}:${process.env['PATH'] ?? ''}`;
}

const fetchReason = () => orSkipReason(() => debianFiles(['piw-test-nothing'], '/nowhere/piw-test-nothing'));
const originalPath = process.env['PATH'];

t.test('the reason of a skipped test says why a Debian package could not be fetched', async (t) => {
  t.teardown(() => (process.env['PATH'] = originalPath));
  prependToPath(
    'apt-get',
    'echo "W: a warning" >&2; echo "E: there is no route to deb.debian.org" >&2; exit 100',
  );
  t.equal(
    await fetchReason(),
    'needs piw-test-nothing, which is not installed and could not be fetched: E: there is no route to deb.debian.org',
  );
  process.env['PATH'] = '/nowhere';
  t.match(await fetchReason(), /^needs piw-test-nothing, .*: there is no apt-get$/);
});

t.test('on a slow connection a test file stops fetching at its time limit', async (t) => {
  t.teardown(() => (process.env['PATH'] = originalPath));
  prependToPath('apt-get', 'exec sleep 60');
  const start = performance.now();
  t.match(await fetchReason(), /could not be fetched.* 2 s$/);
  t.match(await fetchReason(), /could not be fetched within 2 s$/);
  t.ok(performance.now() - start < 20_000);
});

t.test('programs that are not on PATH are named', (t) => {
  t.equal(skipUnlessInstalled('sh', 'cat'), false);
  t.equal(skipUnlessInstalled('sh', 'piw-nothing'), 'needs piw-nothing, which is not installed');
  t.equal(
    skipUnlessInstalled('piw-nothing', 'piw-none'),
    'needs piw-nothing and piw-none, which are not installed',
  );
  t.end();
});

t.test('only a missing prerequisite skips a test; any other error fails it', async (t) => {
  t.equal(await orSkipReason(() => Promise.reject(new MissingPrerequisite('needs it'))), 'needs it');
  await t.rejects(
    orSkipReason(() => Promise.reject(new Error('broken'))),
    { message: 'broken' },
  );
});

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { confine } from '../../src/builder/sandbox.js';
import { packFixture, type Sdist } from '../helpers/sdist.js';
import { IndexServer } from './index-server.js';
import { interpreter, temporaryFolder, createTestBuilder } from './workshop.js';

const ZIP_EPOCH_S = 315_532_800;
const DAY_S = 86_400;
/** A day of 2023. */
const RELEASED_AT_S = 1_700_000_000;

const index = await IndexServer.start([
  packFixture('dated', { mtimes: [RELEASED_AT_S, RELEASED_AT_S - DAY_S] }),
  packFixture('dated', { version: '2.0', mtimes: [RELEASED_AT_S] }),
]);
t.teardown(() => index.stop());

/** Creates a builder on its own day, in a folder whose name differs from that of any other day. */
async function builderOnDay(t: Parameters<typeof temporaryFolder>[0], mode: string, day: number) {
  const workDir = join(temporaryFolder(t), 'x'.repeat(day + 1));
  mkdirSync(workDir);
  const env = { PIP_RETRIES: '0', PIW_TEST_DAY: String(day) };
  const confinement = await confine({ mode, network: 'on', interpreter, env, workDir, masked: [] });
  return { ...createTestBuilder(t, index.url, { workDir, env, confinement }), confinement };
}

for (const [mode, where] of [
  ['auto', 'in a sandbox'],
  ['none', 'without one'],
] as const)
  for (const [version, wheelKind] of [
    ['1.0', 'a pure wheel'],
    ['2.0', 'a wheel with debug information'],
  ] as const)
    t.test(`${wheelKind} has the same bytes on any day and in any folder, ${where}`, async (t) => {
      const builders = [await builderOnDay(t, mode, 0), await builderOnDay(t, mode, 3)];
      const sandboxed = builders[0]?.confinement.notice === undefined;
      if (mode === 'auto' && !sandboxed) {
        t.comment('skipped: there is no sandbox on this machine');
        return;
      }
      if (version === '2.0' && !sandboxed && !interpreter.supportsPrefixMap) {
        t.comment('skipped: this Python has no C compiler that supports -ffile-prefix-map');
        return;
      }
      const hashes: string[] = [];
      for (const { builder, request, workDir } of builders) {
        const { files, output } = await builder.build(request('dated', { version }));
        t.match(output, `\n  epoch ${RELEASED_AT_S}\n`);
        t.match(output, new RegExp(`\n  place ${sandboxed ? '/tmp/piw-build/' : workDir}`));
        const [file] = files;
        t.ok(file, output);
        if (!file) return;
        hashes.push(file.filehash);
        if (version === '2.0') t.notMatch(readFileSync(file.path, 'latin1'), workDir);
      }
      t.equal(hashes[1], hashes[0]);
    });

t.test('SOURCE_DATE_EPOCH is the time of the newest plausible file in the source', async (t) => {
  const tomorrow = Math.floor(Date.now() / 1000) + DAY_S;
  for (const [times, expected] of [
    [[], ZIP_EPOCH_S],
    [[RELEASED_AT_S, RELEASED_AT_S + DAY_S, 1], RELEASED_AT_S + DAY_S],
    [[RELEASED_AT_S, tomorrow], RELEASED_AT_S],
    [[tomorrow], ZIP_EPOCH_S],
    [[ZIP_EPOCH_S - DAY_S], ZIP_EPOCH_S],
  ] as const) {
    const index = await IndexServer.start([packFixture('dated', { mtimes: times })]);
    t.teardown(() => index.stop());
    const { builder, request } = createTestBuilder(t, index.url);
    const { output } = await builder.build(request('dated'));
    t.match(output, `\n  epoch ${expected}\n`, JSON.stringify(times));
  }
});

t.test('SOURCE_DATE_EPOCH also comes from a ZIP archive, and the configuration overrides it', async (t) => {
  const folder = mkdtempSync(join(temporaryFolder(t), 'zip-'));
  const sdist = packFixture('dated');
  execFileSync('tar', ['xzf', '-'], { cwd: folder, input: sdist.contents });
  const filename = sdist.filename.replace('.tar.gz', '.zip');
  const pack = `
import os, zipfile
with zipfile.ZipFile('${filename}', 'w') as archive:
    for name in sorted(os.listdir('piw_fixture_dated-1.0')):
        with open('piw_fixture_dated-1.0/' + name) as file:
            archive.writestr(zipfile.ZipInfo('piw_fixture_dated-1.0/' + name, (2021, 2, 3, 4, 5, 6)), file.read())
`;
  execFileSync(interpreter.path, ['-c', pack], { cwd: folder });
  const contents = readFileSync(join(folder, filename));
  const sha256 = createHash('sha256').update(contents).digest('hex');
  const zip: Sdist = { ...sdist, filename, contents, sha256 };
  const index = await IndexServer.start([zip]);
  t.teardown(() => index.stop());
  for (const [env, expected] of [
    [{}, Date.UTC(2021, 1, 3, 4, 5, 6) / 1000],
    [{ SOURCE_DATE_EPOCH: '1234567890' }, 1_234_567_890],
  ] as const) {
    const { builder, request } = createTestBuilder(t, index.url, { env: { PIP_RETRIES: '0', ...env } });
    const { output } = await builder.build(request('dated'));
    t.match(output, `\n  epoch ${expected}\n`);
  }
});

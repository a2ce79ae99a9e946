import { chmodSync, existsSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { findOwningPackages } from '../../src/builder/owners.js';
import { temporaryFolder } from './workshop.js';

/** The recorded output of each package manager for a file; `$1` stands for the path in question. */
const RECORDED_OUTPUTS = {
  // rpm 4.18: a file that a package owns (twice, for two architectures), and one that no package owns.
  rpm: {
    owned: 'echo zlib-ng-compat; echo zlib-ng-compat',
    unowned: 'echo "file $1 is not owned by any package"; exit 1',
    missing: 'echo "error: file $1: No such file or directory" >&2; exit 1',
    expected: { rpm: ['zlib-ng-compat'], '': ['libnobodys.so.3'] },
  },
  // apk 2.14
  apk: {
    owned: 'echo "$1 is owned by zlib-1.3.1-r2"',
    unowned: 'echo "ERROR: $1: Could not find owner package" >&2; exit 1',
    missing: 'echo "ERROR: $1: Could not find owner package" >&2; exit 1',
    expected: { apk: ['zlib'], '': ['libnobodys.so.3'] },
  },
  // apk for a symbolic link, and for a version that does not consist of dots and digits only.
  'apk of a link': {
    owned: 'echo "$1 symlink target is owned by musl-1.2.4_git20230717-r4"',
    unowned: 'exit 1',
    missing: 'exit 1',
    expected: { apk: ['musl'], '': ['libnobodys.so.3'] },
  },
  // dpkg 1.21: a file that packages of several architectures own.
  'dpkg-query': {
    owned: 'echo "zlib1g:amd64, zlib1g:i386: $1"',
    unowned: 'echo "dpkg-query: no path found matching pattern $1" >&2; exit 1',
    missing: 'echo "dpkg-query: no path found matching pattern $1" >&2; exit 1',
    expected: { apt: ['zlib1g'], '': ['libnobodys.so.3'] },
  },
};

for (const [name, { owned, unowned, missing, expected }] of Object.entries(RECORDED_OUTPUTS)) {
  t.test(`${name} reports which package owns a library`, async (t) => {
    const folder = temporaryFolder(t);
    for (const library of ['libz.so.1', 'libnobodys.so.3']) writeFileSync(join(folder, library), '');
    const writeProgram = (command: string, script: string): void => {
      writeFileSync(join(folder, command), `#!/bin/sh\n${script}\n`);
      chmodSync(join(folder, command), 0o755);
    };
    const cases = `${folder}/libz.so.1) ${owned};; ${folder}/libnobodys.so.3) ${unowned};; *) ${missing};;`;
    const [command = ''] = name.split(' ');
    writeProgram(command, `while [ $# -gt 1 ]; do shift; done; case "$1" in ${cases} esac`);
    const listed = ['libz.so.1', 'libnobodys.so.3'].map(
      (library) => `${library} (libc6,x86-64) => ${folder}/${library}`,
    );
    writeProgram('ldconfig', listed.map((line) => `echo '\t${line}'`).join('\n'));
    // From this system, only the shell and echo.
    for (const shell of ['/bin/sh', '/bin/echo'].filter((path) => existsSync(path)))
      symlinkSync(shell, join(folder, shell.slice('/bin/'.length)));
    t.strictSame(await findOwningPackages(['libz.so.1', 'libnobodys.so.3'], folder), expected);
    t.strictSame(Object.keys(await findOwningPackages([], folder)), [Object.keys(expected)[0]]);
  });
}

t.test('without a package manager, libraries have no owner', async (t) => {
  t.strictSame(await findOwningPackages(['libz.so.1'], temporaryFolder(t)), { '': ['libz.so.1'] });
});

import t from 'tap';
import { logHtml } from '../../src/site/pages/log.js';
import { NO_DETAILS } from '../../src/model/build-details.js';
import { sampleBuild } from './sample-site.js';

const page = (output: readonly string[], slave: string | null = 'anvil'): string =>
  logHtml(
    {
      ...sampleBuild(7, 100, 0),
      status: true,
      failure_class: null,
      details: NO_DETAILS,
      slave,
      duration_s: 0,
      output: output.map((line) => `${line}\n`).join(''),
    },
    null,
  );

void t.test("pip's own lines are collapsed, and the build's lines are not", (t) => {
  const log = page([
    'Collecting demo',
    `     ${'\u2501'.repeat(40)} 1.0/1.0 MB`,
    'DEPRECATION: --no-use-wheel will be removed',
    '[notice] A new release of pip is available',
    "WARNING: Running pip as the 'root' user can result in broken permissions",
    'running build_ext',
    'DeprecationWarning: of the package',
  ]);
  const [fold] = /<details class="noise">.*?<\/details>/s.exec(log) ?? [''];
  t.match(fold, '4 lines of pip’s own output</summary>');
  for (const line of [2, 3, 4, 5]) t.match(fold, `id="L${line}"`);
  t.notMatch(fold, /id="L[167]"/);
  t.equal(log.match(/class="noise"/g)?.length, 1);
  t.end();
});

void t.test("the slave's folder for the build is not shown", (t) => {
  const log = page([
    'gcc -I/var/lib/piw/work/build-817-12345-a1B2c3/scratch-x/demo -o "/srv/piw/build-1-2-abcdef/tmp/x.o"',
    'copying build/lib/build-config.py',
  ]);
  t.match(log, 'gcc -I/build/scratch-x/demo -o &quot;/build/tmp/x.o&quot;');
  t.match(log, 'copying build/lib/build-config.py');
  t.end();
});

void t.test('an imported wheel has no log and no duration', (t) => {
  const log = page([], null);
  t.match(log, '<span class="state built">imported</span>');
  t.match(log, 'This wheel was not built here, so there is no log.');
  t.notMatch(log, '0.0 s');
  t.end();
});

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { probeInterpreter } from '../../src/builder/interpreter.js';
import { temporaryFolder } from './workshop.js';

const run = promisify(execFile);

t.test('an interpreter is asked for its tags, which pip itself agrees with', async (t) => {
  const interpreter = await probeInterpreter('python3', {});
  const debug = await run(interpreter.path, ['-I', '-m', 'pip', 'debug', '--verbose'], { cwd: '/' });
  const { pyVersionTag, abiTag, platformTag, version } = interpreter;
  t.match(debug.stdout, `${pyVersionTag}-${abiTag}-${platformTag}\n`);
  t.match(debug.stdout, `sys.version: ${version}`);
  t.match(debug.stdout, `pip ${interpreter.pipVersion} from`);
  t.match(interpreter, { path: /^\//, implementation: /^\w+$/, osName: /./ });
});

t.test('each reason for which a Python can’t build is said in a line', async (t) => {
  const folder = temporaryFolder(t);
  await run('python3', ['-m', 'venv', '--without-pip', folder]);
  const cases: readonly [string, RegExp][] = [
    // Where a folder of PATH can't be read, the system says that instead.
    ['piw-no-such-python', /there is no such program|this user may not run it/],
    ['/etc/passwd', /this user may not run it/],
    ['/bin/true', /it gave no answer that makes sense/],
    ['/bin/false', /it gave no answer that makes sense/],
    [join(folder, 'bin', 'python'), /it has no pip/],
  ];
  for (const [python, why] of cases) {
    await t.rejects(probeInterpreter(python, {}), { code: 'PIW_NO_PYTHON', message: why }, python);
  }
});

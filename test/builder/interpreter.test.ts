import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { probeInterpreter } from '../../src/builder/interpreter.js';
import { temporaryFolder } from './workshop.js';

const run = promisify(execFile);

t.test('an interpreter’s tags are those that its pip uses', async (t) => {
  const interpreter = await probeInterpreter('python3', {});
  const debug = await run(interpreter.path, ['-I', '-m', 'pip', 'debug', '--verbose'], { cwd: '/' });
  const { pyVersionTag, abiTag, platformTag, version } = interpreter;
  t.match(debug.stdout, `${pyVersionTag}-${abiTag}-${platformTag}\n`);
  t.match(debug.stdout, `sys.version: ${version}`);
  t.match(debug.stdout, `pip ${interpreter.pipVersion} from`);
  t.match(interpreter, { path: /^\//, implementation: /^\w+$/, osName: /./ });
});

t.test('each reason why a Python cannot build is reported in one line', async (t) => {
  const folder = temporaryFolder(t);
  await run('python3', ['-m', 'venv', '--without-pip', folder]);
  const cases: readonly [string, RegExp][] = [
    // If a folder of PATH can't be read, the system reports that instead.
    ['piw-no-such-python', /there is no such program|this user may not run it/],
    ['/etc/passwd', /this user may not run it/],
    ['/bin/true', /it does not answer like a Python interpreter/],
    ['/bin/false', /it does not answer like a Python interpreter/],
    [join(folder, 'bin', 'python'), /it has no pip/],
  ];
  for (const [python, reason] of cases) {
    await t.rejects(probeInterpreter(python, {}), { code: 'PIW_NO_PYTHON', message: reason }, python);
  }
});

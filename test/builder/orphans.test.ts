import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { confine } from '../../src/builder/sandbox.js';
import { until } from '../helpers/bus.js';
import { packFixture } from '../helpers/sdist.js';
import { IndexServer } from './index-server.js';
import { interpreter, temporaryFolder, createTestBuilder } from './workshop.js';
import { processesWith } from '../helpers/proc.js';

/** In the process that is killed: the parameters of its build, as JSON. */
const CHILD_INPUT = process.env['PIW_TEST_ORPHANS'];

if (CHILD_INPUT !== undefined) await build(JSON.parse(CHILD_INPUT) as OrphanBuild);
else await tests();

interface OrphanBuild {
  readonly url: string;
  readonly mode: string;
  readonly workDir: string;
  /** A word in the command line of the build's daemon. */
  readonly word: string;
}

async function build({ url, mode, workDir, word }: OrphanBuild): Promise<void> {
  const env = { PIP_RETRIES: '0', PIW_TEST_WORD: word };
  const confinement = await confine({ mode, network: 'on', interpreter, env, workDir, masked: [] });
  const { builder, request } = createTestBuilder(t, url, { workDir, env, confinement });
  await builder.build(
    request('sheds', {
      version: '2.0',
      onLine: (line) => {
        console.log(line);
      },
    }),
  );
}

async function tests(): Promise<void> {
  const index = await IndexServer.start([packFixture('sheds', { version: '2.0' })]);
  t.teardown(() => index.stop());
  for (const mode of ['auto', 'none']) {
    const where = mode === 'auto' ? 'in a sandbox' : 'without one';
    const skip = process.platform !== 'linux' && 'needs Linux';
    t.test(`a build dies with its slave when the slave is killed, ${where}`, { skip }, async (t) => {
      const word = `piw-test-orphan-${mode}-${process.pid}`;
      const childInput: OrphanBuild = { url: index.url, mode, workDir: temporaryFolder(t), word };
      const child = spawn(process.execPath, [fileURLToPath(import.meta.url)], {
        env: { ...process.env, PIW_TEST_ORPHANS: JSON.stringify(childInput) },
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      for await (const line of createInterface(child.stdout)) if (line.includes('its daemon runs')) break;
      t.equal(processesWith(word).length, 1);
      child.kill('SIGKILL');
      await once(child, 'exit');
      await until(() => processesWith(word).length === 0);
    });
  }
}

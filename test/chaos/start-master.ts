import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stageProgram } from '../../src/farm/stage.js';
import { tlsAndProxyEnv } from '../../src/servers/certificates.js';
import type { DataFolder } from '../../src/servers/data-folder.js';
import { runAs } from '../../src/servers/privileges.js';
import { formatConfig } from '../../src/settings/config-file.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** Starts a master as the folder's account, which follows no index. Returns the function that stops it. */
export function startMaster(
  folder: DataFolder,
  nats: string,
  dsn: string,
  logFile: string,
): () => Promise<unknown> {
  const program = stageProgram(ROOT, folder.account);
  const settings = {
    nats,
    dsn,
    'output-path': folder.subfolder('www'),
    'pypi-simple': 'http://127.0.0.1:9/simple',
  };
  const config = folder.writeSecret('master.conf', formatConfig(settings));
  const log = openSync(logFile, 'a');
  const master = spawn(program.node, [join(program.root, 'dist/run/bin.js'), 'master', '-c', config], {
    ...runAs(folder.account),
    stdio: ['ignore', log, log],
    cwd: folder.path,
    env: { PATH: process.env['PATH'], HOME: folder.path, ...tlsAndProxyEnv() },
  });
  closeSync(log);
  const ended = new Promise((resolve) => master.once('exit', resolve));
  return () => {
    master.kill('SIGTERM');
    return ended;
  };
}

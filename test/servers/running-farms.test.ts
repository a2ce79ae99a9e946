import { mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { lockFile } from '../../src/servers/data-folder.js';
import { startTime } from '../../src/servers/process.js';
import { farmConfigFile, recordFarm, runningFarms } from '../../src/servers/running-farms.js';

t.test('a farm is found wherever its data is, and only while it runs', (t) => {
  const state = mkdtempSync(join(tmpdir(), 'piw-state-'));
  const previous = process.env['XDG_STATE_HOME'];
  process.env['XDG_STATE_HOME'] = state;
  t.teardown(() => {
    if (previous === undefined) Reflect.deleteProperty(process.env, 'XDG_STATE_HOME');
    else process.env['XDG_STATE_HOME'] = previous;
  });
  const farms = () => runningFarms().map(({ dataDir, pid }) => [dataDir, pid]);
  const dataDir = mkdtempSync(join(tmpdir(), 'piw-data-'));
  const lock = (text: string) => {
    writeFileSync(lockFile(dataDir), text);
  };
  t.strictSame(farms(), []);
  const remove = recordFarm(dataDir);
  t.strictSame(farms(), [], 'no farm has locked the folder');
  lock(`${process.pid} ${startTime(process.pid)}\n`);
  t.strictSame(farms(), [], 'it has not written its configuration yet');
  writeFileSync(farmConfigFile(dataDir), 'nats = localhost:4333\n');
  t.strictSame(farms(), [[dataDir, process.pid]]);
  lock(`${process.pid} 1\n`);
  t.strictSame(farms(), [], 'it was killed, and another process has its id');
  lock(`${process.pid} ${startTime(process.pid)}\n`);
  remove?.();
  t.strictSame(farms(), []);
  t.strictSame(readdirSync(join(state, 'piw', 'farms')), []);
  t.end();
});

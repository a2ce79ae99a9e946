import { accessSync, constants, statSync, statfsSync } from 'node:fs';
import { userInfo } from 'node:os';
import type { Check, Finding } from './check.js';

/** Less free space than this is reported, bytes: one large wheel and its log. */
const MIN_FREE_BYTES = 1024 ** 3;

export const outputPath: Check = {
  name: 'output-path',
  applies: ({ roles }) => roles.has('master'),
  run: ({ settings }) => {
    const path = settings['output-path'];
    const { username, uid } = userInfo();
    const stats = statSync(path, { throwIfNoEntry: false });
    if (stats === undefined)
      return [
        { problem: `the output path ${path} does not exist`, fix: `sudo install -d -o ${username} ${path}` },
      ];
    if (!stats.isDirectory())
      return [{ problem: `the output path ${path} is not a folder`, fix: 'set output-path to a folder' }];
    const findings: Finding[] = [];
    const chown = `sudo chown -R ${username} ${path}`;
    // Root can write everywhere, and is not who the master runs as.
    if (uid !== 0 && stats.uid !== uid)
      findings.push({
        problem: `the output path ${path} belongs to another user (${stats.uid})`,
        fix: chown,
      });
    try {
      accessSync(path, constants.W_OK | constants.X_OK);
    } catch {
      findings.push({ problem: `${username} can't write to the output path ${path}`, fix: chown });
    }
    const { bsize, bavail } = statfsSync(path);
    if (bsize * bavail < MIN_FREE_BYTES)
      findings.push({
        problem: `the disk of the output path ${path} has ${Math.floor((bsize * bavail) / 1024 ** 2)} MB left`,
        fix: `free space on it: df -h ${path}`,
      });
    return findings;
  },
};

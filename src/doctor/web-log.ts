import { accessSync, constants, readFileSync, readdirSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { userInfo } from 'node:os';
import { codeOf } from '../files/disk.js';
import type { Check, DoctorContext, Finding } from './check.js';

/** The unit that has nginx's log counted, and a folder with changes to it. Apache passes its log through a pipe. */
const UNIT = 'etc/systemd/system/piw-logger.service';

/**
 * Checks that piw logger can read the log that nginx writes for this site, and write the folder in which it keeps lines
 * while the farm is down.
 */
export const webLog: Check = {
  name: 'web-log',
  applies: ({ roles }) => roles.has('web'),
  run: (context) => [...logFindings(context), ...spoolFindings(context)],
};

function logFindings({ systemRoot }: DoctorContext): readonly Finding[] {
  const unit = unitText(join(systemRoot, UNIT));
  if (unit === undefined) return [];
  const user = /^User=(.*)$/m.exec(unit)?.[1] ?? 'root';
  const groups = groupIds(systemRoot, /^SupplementaryGroups=(.*)$/m.exec(unit)?.[1]?.split(' ') ?? []);
  return siteLogs(join(systemRoot, 'etc/nginx/sites-enabled')).flatMap(
    ({ site, log }): readonly Finding[] => {
      if (!unit.includes(dirname(log)) || !unit.includes(basename(log)))
        return [
          {
            problem: `nginx writes the log of the site to ${log} (${site}), and piw-logger.service reads another one`,
            fix: `name ${log} in ExecStart of piw-logger.service, or set access_log in ${site} to the file that is named there`,
          },
        ];
      // The files that another user can read are not known here.
      const obstacle = userInfo().username === user ? firstUnreadable(log, groups) : undefined;
      if (obstacle === undefined) return [];
      if (obstacle === 'missing')
        return [
          {
            problem: `${log}, the log of the site (${site}), does not exist`,
            fix: 'sudo systemctl reload nginx',
          },
        ];
      const right = obstacle === log ? 'r' : 'x';
      return [
        {
          problem: `${log}, the log of the site, can't be read by ${user}, the user of piw-logger.service: ${obstacle} does not permit it`,
          fix: `sudo chgrp adm ${obstacle} && sudo chmod g+${right} ${obstacle}; and for later logs, create 0640 www-data adm in /etc/logrotate.d/nginx`,
        },
      ];
    },
  );
}

function spoolFindings({ settings: { spool, user } }: DoctorContext): readonly Finding[] {
  if (spool === null || isUsable(nearestExisting(spool), constants.W_OK | constants.X_OK)) return [];
  return [
    {
      problem: `the spool folder ${spool}, in which piw logger keeps lines while the farm is down, can't be written`,
      fix: `sudo install -d -o ${user} -m 700 ${spool}`,
    },
  ];
}

/** Returns the text of a unit and of its drop-ins; undefined if there is no such unit that we can read. */
function unitText(unit: string): string | undefined {
  try {
    const folder = `${unit}.d`;
    const dropIns = namesIn(folder).map((name) => readFileSync(join(folder, name), 'utf8'));
    return [readFileSync(unit, 'utf8'), ...dropIns].join('\n');
  } catch {
    return undefined;
  }
}

/** Returns the logs in the configurations of the farm's sites. */
function siteLogs(folder: string): readonly { readonly site: string; readonly log: string }[] {
  return namesIn(folder)
    .filter((name) => name.includes('piw'))
    .flatMap((name) => {
      const site = join(folder, name);
      const logs = textOf(site).matchAll(/^\s*access_log\s+(\/[^\s;$]+)[\s;]/gm);
      return [...logs].map(([, log = '']) => ({ site, log }));
    });
}

/** Returns the ids of groups; those that the machine's file does not list are left out. */
function groupIds(systemRoot: string, names: readonly string[]): ReadonlySet<number> {
  const lines = textOf(join(systemRoot, 'etc/group')).split('\n');
  const entries = lines.map((line) => line.split(':'));
  return new Set(entries.filter(([name = '']) => names.includes(name)).map(([, , id]) => Number(id)));
}

/**
 * Returns what keeps this user, in these further groups, from reading a file: the file or a folder above it, `missing`,
 * or undefined if nothing does or if it can't be known.
 */
function firstUnreadable(file: string, groups: ReadonlySet<number>): string | undefined {
  const folders: string[] = [];
  for (let path = dirname(file); path !== dirname(path); path = dirname(path)) folders.unshift(path);
  for (const path of [...folders, file]) {
    const isFile = path === file;
    try {
      accessSync(path, isFile ? constants.R_OK : constants.X_OK);
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return 'missing';
      const stats = statSync(path, { throwIfNoEntry: false });
      const hasGroupRight = stats && groups.has(stats.gid) && (stats.mode & (isFile ? 0o040 : 0o010)) !== 0;
      if (!hasGroupRight) return path;
      // This process is not in that group, so it can't look further.
      if (!isFile) return undefined;
    }
  }
  return undefined;
}

/** Returns the path, or the nearest of the folders above it that exists. */
function nearestExisting(path: string): string {
  return isUsable(path, constants.F_OK) || path === dirname(path) ? path : nearestExisting(dirname(path));
}

function isUsable(path: string, mode: number): boolean {
  try {
    accessSync(path, mode);
    return true;
  } catch {
    return false;
  }
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

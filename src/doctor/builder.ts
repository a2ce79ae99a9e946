import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { homedir, userInfo } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parseVariables } from '../builder/environment.js';
import { findExposures } from '../builder/exposed.js';
import { probeInterpreter } from '../builder/interpreter.js';
import { machineStats } from '../builder/machine.js';
import { findShortage } from '../builder/resource-shortage.js';
import { confine } from '../builder/sandbox.js';
import { MISSING_TOOL_MESSAGES, findMissingTools } from '../builder/toolchain.js';
import { prepareWorkFolder } from '../builder/work-folder.js';
import type { Settings } from '../config.js';
import { PiwError, rethrowUnexpected } from '../errors.js';
import { checkWritable, codeOf } from '../files/disk.js';
import { findingOf, isReachable, type Check, type DoctorContext, type Finding } from './check.js';

const MB = 1024 ** 2;
const isBuilder = ({ roles }: DoctorContext): boolean => roles.has('builder');

/** The folder in which packages are built: it exists, this user can write to it, and programs in it can be run. */
export const workFolder: Check = {
  name: 'work-dir',
  applies: isBuilder,
  run: async ({ settings }) => {
    const { username } = userInfo();
    let folder: string | undefined;
    try {
      folder = await usableWorkFolder(settings);
      await runTrialProgram(folder);
      return [];
    } catch (error) {
      if (error instanceof PiwError) {
        const configured = settings['work-dir'];
        const install = configured === null ? '' : `sudo install -d -o ${username} -m 700 ${configured}, or `;
        return [findingOf(error, `${install}set work-dir to a folder that ${username} can write to`)];
      }
      if (codeOf(error) !== 'EACCES') throw error;
      return [
        {
          problem: `programs in the folder of builds, ${folder}, can't be run: it is mounted noexec`,
          fix: `sudo mount -o remount,exec "$(findmnt -n -o TARGET -T ${folder})", or set work-dir to a folder on another disk`,
        },
      ];
    }
  },
};

/** Returns the folder of builds. Throws PIW_NOT_WRITABLE or PIW_DISK_FULL if no build could use it. */
async function usableWorkFolder(settings: Settings): Promise<string> {
  const folder = await prepareWorkFolder(settings['work-dir']);
  checkWritable(folder);
  return folder;
}

/** Runs a program in the folder, as configure scripts do with what they have compiled. Throws what spawning it throws. */
async function runTrialProgram(folder: string): Promise<void> {
  const trial = await mkdtemp(join(folder, 'doctor-'));
  try {
    const program = join(trial, 'program');
    await writeFile(program, '#!/bin/sh\nexit 0\n', { mode: 0o700 });
    await promisify(execFile)(program);
  } finally {
    await rm(trial, { recursive: true, force: true });
  }
}

export const builderResources: Check = {
  name: 'resources',
  applies: isBuilder,
  run: async ({ settings }) => {
    if (!(await isReachable(() => usableWorkFolder(settings)))) return [];
    const shortage = findShortage(await machineStats(await usableWorkFolder(settings)), {
      diskFree: settings['min-disk-free'] * MB,
      memoryFree: settings['min-memory-free'] * MB,
      load: settings['max-load'],
      temperature: settings['max-temperature'],
    });
    if (shortage === undefined) return [];
    const fix = {
      disk: 'free space, or set work-dir to a larger disk',
      memory: 'end other programs, or set min-memory-free lower',
      load: 'wait, or set max-load higher',
      temperature: 'cool the machine, or set max-temperature higher',
    }[shortage.of];
    return [{ problem: `the slave would take no work: ${shortage.text}`, fix }];
  },
};

/** Looks for what builds need: each interpreter with pip, a sandbox, a compiler and Python's headers. */
export const buildTools: Check = {
  name: 'build-tools',
  applies: isBuilder,
  run: async (context) => {
    const pythons = context.settings.python.length > 0 ? context.settings.python : ['python3'];
    if (!(await isReachable(() => usableWorkFolder(context.settings)))) return [];
    const workDir = await usableWorkFolder(context.settings);
    const findings: Finding[] = [];
    for (const python of pythons) {
      try {
        findings.push(...(await interpreterFindings(context, python, workDir)));
      } catch (error) {
        rethrowUnexpected(error);
        const fix = error.message.startsWith('sandbox = required, but ')
          ? sandboxFix(error.message)
          : error.code === 'PIW_NO_PYTHON'
            ? pythonFix(error)
            : error.advice;
        findings.push(findingOf(error, fix));
      }
    }
    // Two interpreters lack the same sandbox and the same compiler.
    return findings.filter(
      ({ problem }, i) => findings.findIndex((other) => other.problem === problem) === i,
    );
  },
};

const pythonFix = ({ message }: PiwError): string =>
  message.includes('no pip')
    ? 'sudo apt install python3-pip'
    : 'sudo apt install python3 python3-pip, or set python to an interpreter of 3.9 or later';

/** Kernel settings that keep ordinary users from the namespaces that a sandbox is made of, and values that let them. */
const NAMESPACE_SETTINGS = [
  ['kernel.unprivileged_userns_clone', '0', '1'],
  ['kernel.apparmor_restrict_unprivileged_userns', '1', '0'],
  ['user.max_user_namespaces', '0', '15000'],
] as const;

/** Returns what gives builds a sandbox, if there is none for this reason. */
function sandboxFix(reason: string): string {
  if (reason.includes('not installed')) return 'sudo apt install bubblewrap';
  const blocking = NAMESPACE_SETTINGS.find(([name, value]) => kernelSetting(name) === value);
  return blocking === undefined
    ? 'let ordinary users create user namespaces (sysctl kernel.unprivileged_userns_clone; in a container, its seccomp profile), or set sandbox = none and run the slave as a user of its own'
    : `sudo sysctl -w ${blocking[0]}=${blocking[2]}`;
}

function kernelSetting(name: string): string | undefined {
  try {
    return readFileSync(join('/proc/sys', ...name.split('.')), 'latin1').trim();
  } catch {
    return undefined;
  }
}

async function interpreterFindings(
  { settings, root, files }: DoctorContext,
  python: string,
  workDir: string,
): Promise<readonly Finding[]> {
  const env = parseVariables(settings['build-env']);
  const interpreter = await probeInterpreter(python, env);
  const programs = settings['build-path'];
  const secrets = secretFiles(settings, files);
  const confinement = await confine({
    mode: settings.sandbox,
    network: settings['sandbox-network'],
    interpreter,
    env,
    programs,
    workDir,
    masked: [...secrets, root, homedir()],
  });
  const findings: Finding[] = [];
  const { unavailableReason } = confinement;
  if (unavailableReason !== undefined)
    findings.push({
      problem: `builds would run without a sandbox: ${unavailableReason}`,
      fix: sandboxFix(unavailableReason),
    });
  if (confinement.notice !== undefined && !settings['allow-exposed']) {
    const exposures = await findExposures({ secrets, readOnlyPaths: [root, process.execPath, homedir()] });
    if (exposures.length > 0)
      findings.push({
        problem: `builds could ${exposures.slice(0, 3).join(', ')}`,
        fix: 'sudo apt install bubblewrap, or run the slave as a user of its own',
      });
  }
  const missing = await findMissingTools({
    interpreter,
    workDir,
    env,
    programs,
    confinement,
    log: () => undefined,
  });
  for (const tool of missing)
    findings.push({
      problem: `${interpreter.path}: ${MISSING_TOOL_MESSAGES[tool].replace(/ \(.*/, '')}`,
      fix: `sudo apt install ${tool === 'compiler' ? 'build-essential' : 'python3-dev'}`,
    });
  return findings;
}

const secretFiles = (settings: Settings, files: readonly string[]): readonly string[] =>
  [...files, settings['slave-key'], settings['tls-key']].filter((file) => file !== null);

import { homedir } from 'node:os';
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
import { findingOf, type Check, type DoctorContext, type Finding } from './check.js';

const MB = 1024 ** 2;
const isBuilder = ({ roles }: DoctorContext): boolean => roles.has('builder');

export const builderUser: Check = {
  name: 'user',
  applies: isBuilder,
  run: ({ settings }) =>
    process.getuid?.() === 0 && !settings['allow-root']
      ? [
          {
            problem: 'this is root, and builds run the code of strangers',
            fix: 'run piw slave, and piw doctor, as an ordinary user',
          },
        ]
      : [],
};

export const builderResources: Check = {
  name: 'resources',
  applies: isBuilder,
  run: async ({ settings }) => {
    const shortage = findShortage(await machineStats(await prepareWorkFolder(settings['work-dir'])), {
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
    const workDir = await prepareWorkFolder(context.settings['work-dir']);
    const findings: Finding[] = [];
    for (const python of pythons) {
      try {
        findings.push(...(await interpreterFindings(context, python, workDir)));
      } catch (error) {
        rethrowUnexpected(error);
        const fix = error.code === 'PIW_NO_PYTHON' ? pythonFix(error) : error.advice;
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
      fix: 'sudo apt install bubblewrap',
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

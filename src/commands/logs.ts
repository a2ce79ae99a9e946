import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { Args, Flags } from '@oclif/core';
import { ProtocolClient } from '../actor/client.js';
import type { Bus } from '../bus/bus.js';
import type { Settings } from '../config.js';
import { PiwError, hasCode } from '../errors.js';
import { GZIP_SUFFIX } from '../files/atomic.js';
import { undefinedIfMissing, withDiskErrors } from '../files/disk.js';
import type { Project } from '../model/project.js';
import { stripControlCharacters } from '../monitor/table.js';
import type { SlaveStatus } from '../protocols/control.js';
import { oracle, type BuildRecord } from '../protocols/oracle.js';
import { logPath } from '../site/layout.js';
import { parsePackageName } from './administer.js';
import { EXIT_CODES, PiwCommand, createShutdownSignal, natsFlags } from './base.js';
import { BuildFollower, findBuildingSlaves, type FollowRequest } from './logs/follow.js';
import { printable } from './logs/printable.js';

type OracleClient = ProtocolClient<typeof oracle.verbs>;

export default class Logs extends PiwCommand {
  static override summary = "Print a build's log, or follow a build.";
  static override description = `Names the build by its number, as in the address of its log on the site, or by
its package: then it is the package's last build, or that of a version. The
log goes to standard output, and what it is the log of to standard error.
With --follow, prints the output of a build that is under way, until it ends,
and then exits with 0 if it succeeded and with 1 if not; --slave chooses the
build by its slave. If no slave is building the package, prints the last log.
If the farm can't be reached, the log of a build's number is read from the
output path, if that is on this machine.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> logs numpy',
    '<%= config.bin %> logs numpy 1.26.4 | less',
    '<%= config.bin %> logs 4711 --json',
    '<%= config.bin %> logs numpy --follow',
    '<%= config.bin %> logs --follow --slave pi4',
  ];
  static override args = {
    build: Args.string({
      ignoreStdin: true,
      description: 'number of a build, or a package (required without --slave)',
    }),
    version: Args.string({
      ignoreStdin: true,
      description: 'version of the package (default: the one built last)',
    }),
  };
  static override flags = {
    ...natsFlags,
    follow: Flags.boolean({ char: 'f', description: 'print the output of the build while it is under way' }),
    slave: Flags.string({
      helpValue: 'SLAVE',
      description: "with --follow: the slave's number, as in piw monitor, or its name",
    }),
  };
  static override enableJsonFlag = true;

  async run() {
    const { args, flags } = await this.parse(Logs);
    const settings = this.settings(flags);
    const { build, version } = args;
    if (flags.slave !== undefined && !flags.follow)
      throw new PiwError('PIW_USAGE', '--slave needs --follow: piw logs --follow --slave SLAVE');
    if (build === undefined && flags.slave === undefined)
      throw new PiwError('PIW_USAGE', 'name a build or a package, or a slave with --follow --slave SLAVE');
    const isNumber = build !== undefined && /^\d{1,15}$/.test(build) && version === undefined;
    const numberedBuild = isNumber ? Number(build) : undefined;
    const name = isNumber || build === undefined ? undefined : parsePackageName(build);
    if (flags.follow && !isNumber)
      return await this.#follow(settings, { package: name, version, slave: flags.slave });
    try {
      return await this.#printFromFarm(settings, flags.follow, async (client) =>
        name === undefined ? (numberedBuild ?? 0) : await lastBuild(client, name, version),
      );
    } catch (error) {
      const isAway = error instanceof PiwError && error.exitCode === UNREACHABLE_EXIT_CODE;
      const output =
        isAway && numberedBuild !== undefined ? readPublishedLog(settings, numberedBuild) : undefined;
      if (output === undefined) throw error;
      this.logToStderr(
        `piw: the farm does not answer; this is the log of build ${build ?? ''} on this machine`,
      );
      this.#printLog(output);
      return { build_id: numberedBuild, output };
    }
  }

  /** Prints the log of a build that has ended. With `exitsWithResult`, a failed build's exit code is 1. */
  async #printFromFarm(
    settings: Settings,
    exitsWithResult: boolean,
    findBuild: (client: OracleClient) => Promise<number>,
  ) {
    const bus = await this.connect(settings);
    try {
      const client = createOracleClient(bus);
      const buildId = await findBuild(client);
      const build = await this.#fetchBuild(client, buildId);
      this.logToStderr(describeBuild(buildId, build));
      this.#printLog(build.output);
      if (exitsWithResult && !build.status) process.exitCode = 1;
      // Without the verb of the message.
      return { build_id: buildId, ...build, verb: undefined };
    } finally {
      await bus.drain();
    }
  }

  /**
   * Prints the output of a build until it ends. If no slave is building the package, prints the log of its last build.
   * Throws PIW_UNKNOWN_BUILD if there is none, or several slaves are building it.
   */
  async #follow(settings: Settings, request: FollowRequest) {
    const signal = createShutdownSignal();
    const bus = await this.connect(settings, undefined, signal);
    try {
      const [slave, ...others] = await findBuildingSlaves(bus, request, signal);
      if (slave === undefined) {
        const { package: name, version } = request;
        if (name === undefined || request.slave !== undefined)
          throw new PiwError('PIW_UNKNOWN_BUILD', notBuilding(request));
        return await this.#printFromFarm(settings, true, (client) => lastBuild(client, name, version));
      }
      if (others.length > 0)
        throw new PiwError(
          'PIW_UNKNOWN_BUILD',
          `several slaves are building it: ${[slave, ...others].map(describeSlave).join('; ')}; choose one with --slave`,
        );
      this.logToStderr(`following ${describeSlave(slave)}`);
      const follower = new BuildFollower(slave.slave_id, {
        bus,
        signal,
        printLine: (line) => {
          this.log(printable(line));
        },
        say: (sentence) => {
          this.logToStderr(`piw: ${sentence}`);
        },
      });
      const buildId = await follower.follow();
      if (buildId === undefined) throw new PiwError('PIW_UNKNOWN_BUILD', notBuilding(request));
      const build = await this.#fetchBuild(createOracleClient(bus), buildId);
      follower.printRest(build.output);
      this.logToStderr(describeBuild(buildId, build));
      if (!build.status) process.exitCode = 1;
      return { build_id: buildId, ...build, verb: undefined };
    } catch (error) {
      if (!hasCode(error, 'PIW_INTERRUPTED')) throw error;
      // As after any program that Ctrl+C ends: without a word.
      process.exitCode = error.exitCode;
      return undefined;
    } finally {
      await bus.drain();
    }
  }

  async #fetchBuild(client: OracleClient, buildId: number): Promise<BuildRecord> {
    return await client.request('GETBUILD', { build_id: buildId }).catch((error: unknown) => {
      if (!hasCode(error, 'PIW_REFUSED')) throw error;
      throw new PiwError('PIW_UNKNOWN_BUILD', `there is no build ${buildId}`);
    });
  }

  /** Prints a log: as it is into a file or a pipe, and without control characters to a terminal. */
  #printLog(output: string): void {
    this.log((process.stdout.isTTY ? printable(output) : output).trimEnd());
  }
}

const createOracleClient = (bus: Bus): OracleClient =>
  new ProtocolClient(bus, oracle, undefined, { timeoutMs: 10_000 });

/** Says what a slave builds: `numpy 1.26.4 for cp311 on attic (slave 3)`. */
const describeSlave = ({ package: name, version, abi, label, slave_id }: SlaveStatus): string =>
  stripControlCharacters(`${name ?? ''} ${version ?? ''} for ${abi} on ${label} (slave ${slave_id})`);

/** Says that no build is under way that could be followed. */
function notBuilding({ package: name, version, slave }: FollowRequest): string {
  const build = [name, version].filter((word) => word !== undefined).join(' ');
  return slave === undefined
    ? `no slave is building ${build}`
    : `no slave ${slave} is building ${build === '' ? 'anything' : build}`;
}

const UNREACHABLE_EXIT_CODE = 5;

/** Returns the number of the last build of a package, or of one of its versions. Throws PIW_UNKNOWN_PACKAGE and the like. */
async function lastBuild(client: OracleClient, name: string, version: string | undefined): Promise<number> {
  const { project } = await client.request('PROJECT', { package: name });
  if (project === null) throw new PiwError('PIW_UNKNOWN_PACKAGE', `there is no package ${name}`);
  const versions = project.versions.filter(
    (candidate) => version === undefined || candidate.version === version,
  );
  if (versions.length === 0)
    throw new PiwError('PIW_UNKNOWN_VERSION', `${name} has no version ${version ?? ''}`);
  const builds = buildsOf(versions);
  if (builds.length === 0) {
    const states = versions.flatMap(({ targets }) => targets.map(({ state }) => state));
    const progress = states.includes('building')
      ? ': it is being built'
      : states.includes('waiting')
        ? ': it is in the queue'
        : '';
    const build = [name, version].join(' ').trim();
    throw new PiwError('PIW_UNKNOWN_BUILD', `no build of ${build} has ended yet${progress}`);
  }
  return Math.max(...builds);
}

const buildsOf = (versions: Project['versions']): readonly number[] =>
  versions.flatMap(({ targets }) => targets.flatMap(({ build_id }) => build_id ?? []));

/** Says whose log it is: `build 4711: six 1.16.0 for cp311 linux_x86_64 failed (compiler) after 3 s on attic`. */
function describeBuild(buildId: number, build: Omit<BuildRecord, 'verb'>): string {
  const result = build.status ? 'succeeded' : `failed (${build.failure_class ?? 'other'})`;
  const where = build.slave === null ? 'by import' : `on ${build.slave}`;
  const when = new Date(build.built).toISOString().slice(0, 19);
  return (
    `build ${buildId}: ${build.package} ${build.version} for ${build.abi} ${build.platform} ${result} ` +
    `after ${Math.round(build.duration_s)} s ${where}, ${when}Z`
  );
}

/** Returns the log of a build in the output path; undefined if this machine does not have it. */
function readPublishedLog(settings: Settings, buildId: number): string | undefined {
  const file = join(settings['output-path'], `${logPath(buildId, 'txt')}${GZIP_SUFFIX}`);
  return withDiskErrors(file, () => undefinedIfMissing(() => gunzipSync(readFileSync(file)).toString()));
}

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { Args } from '@oclif/core';
import { ProtocolClient } from '../actor/client.js';
import type { Settings } from '../config.js';
import { PiwError, hasCode } from '../errors.js';
import { GZIP_SUFFIX } from '../files/atomic.js';
import { undefinedIfMissing, withDiskErrors } from '../files/disk.js';
import type { Project } from '../model/project.js';
import { oracle, type BuildRecord } from '../protocols/oracle.js';
import { logPath } from '../site/layout.js';
import { parsePackageName } from './administer.js';
import { EXIT_CODES, PiwCommand, natsFlags } from './base.js';

type OracleClient = ProtocolClient<typeof oracle.verbs>;

export default class Logs extends PiwCommand {
  static override summary = "Print a build's log.";
  static override description = `Names the build by its number, as in the address of its log on the site, or by
its package: then it is the package's last build, or that of a version. The
log goes to standard output, and what it is the log of to standard error.
A build that is still running has no log yet: its slave sends it at the end.
If the farm can't be reached, the log of a build's number is read from the
output path, if that is on this machine.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> logs numpy',
    '<%= config.bin %> logs numpy 1.26.4 | less',
    '<%= config.bin %> logs 4711 --json',
  ];
  static override args = {
    build: Args.string({ ignoreStdin: true, required: true, description: 'number of a build, or a package' }),
    version: Args.string({
      ignoreStdin: true,
      description: 'version of the package (default: the one built last)',
    }),
  };
  static override flags = { ...natsFlags };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(Logs);
    const settings = this.settings(flags);
    const isNumber = /^\d{1,15}$/.test(args.build) && args.version === undefined;
    const numberedBuild = isNumber ? Number(args.build) : undefined;
    const name = isNumber ? undefined : parsePackageName(args.build);
    try {
      return await this.#printFromFarm(settings, async (client) =>
        name === undefined ? (numberedBuild ?? 0) : await lastBuild(client, name, args.version),
      );
    } catch (error) {
      const isAway = error instanceof PiwError && error.exitCode === UNREACHABLE_EXIT_CODE;
      const output =
        isAway && numberedBuild !== undefined ? readPublishedLog(settings, numberedBuild) : undefined;
      if (output === undefined) throw error;
      this.logToStderr(
        `piw: the farm does not answer; this is the log of build ${args.build} on this machine`,
      );
      this.log(output.trimEnd());
      return { build_id: numberedBuild, output };
    }
  }

  async #printFromFarm(
    settings: Settings,
    findBuild: (client: OracleClient) => Promise<number>,
  ): Promise<unknown> {
    const bus = await this.connect(settings);
    try {
      const client = new ProtocolClient(bus, oracle, undefined, { timeoutMs: 10_000 });
      const buildId = await findBuild(client);
      const build = await client.request('GETBUILD', { build_id: buildId }).catch((error: unknown) => {
        if (!hasCode(error, 'PIW_REFUSED')) throw error;
        throw new PiwError('PIW_UNKNOWN_BUILD', `there is no build ${buildId}`);
      });
      this.logToStderr(describeBuild(buildId, build));
      this.log(build.output.trimEnd());
      // Without the verb of the message.
      return { build_id: buildId, ...build, verb: undefined };
    } finally {
      await bus.drain();
    }
  }
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
  if (builds.length === 0)
    throw new PiwError('PIW_UNKNOWN_BUILD', `no build of ${[name, version].join(' ').trim()} has ended yet`);
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

/**
 * Imports, removes, adds and rebuilds, again and again, and each time kills one of nats-server, PostgreSQL, the command,
 * Mr Chase and the File Juggler with SIGKILL at a random moment while the command is at work. Then
 *
 * - whatever `piw import -d` has deleted must be published, listed in the database, and have the same bytes;
 * - a command that exits with 0 must have done what it says, all of it;
 * - one that doesn't must succeed when it is repeated;
 * - and database, files and index must agree.
 *
 *     node dist/test/chaos/administrators-commands.js [--times 12] [--victim NAME] [--command NAME]
 *
 * Each victim is killed `--times` times, in turn during each command. Kills that come after the command's end don't
 * count, and are repeated. Prints a line for each kill, and a table; exits with 1 if any check fails.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Database } from '../../src/database/pool.js';
import { hashFile } from '../../src/wheels/wheel.js';
import { actorPids } from '../bench/processes.js';
import { withBenchEnvironment, type BenchEnvironment } from '../bench/stage.js';
import { makeWheel } from '../helpers/wheel.js';
import { CommandsAudit, type Source } from './commands-audit.js';

const BIN = fileURLToPath(new URL('../../run/bin.js', import.meta.url));
const VICTIMS = ['nats-server', 'PostgreSQL', 'command', 'mr-chase', 'file-juggler'] as const;
type Victim = (typeof VICTIMS)[number];
const WHEEL_TAGS = ['py3-none-any', 'cp311-cp311-linux_x86_64', 'cp310-cp310-linux_x86_64'];
const WHEEL_BYTES = 4_000_000;
/** A kill counts if it comes before the command's end; so often it is tried. */
const MAX_TRIES = 8;
const MAX_REPETITIONS = 5;
const REPETITION_PAUSE_MS = 2000;

const { values } = parseArgs({
  options: {
    times: { type: 'string', default: '12' },
    victim: { type: 'string' },
    command: { type: 'string' },
  },
});

interface Ended {
  readonly code: number | null;
  readonly ms: number;
  readonly text: string;
}

/** A command that is tried, on a package of its own. */
interface Trial {
  readonly args: readonly string[];
  readonly sources: readonly Source[];
  /** Returns why the command has not done what it says, although it exits with 0. */
  readonly undone: () => Promise<readonly string[]>;
}

/** Runs commands against one farm. */
class Commands {
  readonly audit: CommandsAudit;
  readonly #stage: BenchEnvironment;
  readonly #db: Database;
  readonly #masterPid: number | undefined;

  constructor(stage: BenchEnvironment, db: Database, masterPid: number | undefined) {
    this.#stage = stage;
    this.#db = db;
    this.#masterPid = masterPid;
    this.audit = new CommandsAudit(db, this.outputPath);
  }

  get outputPath(): string {
    return this.#stage.folder.join('www');
  }

  /** Runs a command; kills the victim after `afterMs`, if the command is still at work. */
  async run(
    args: readonly string[],
    kill?: { readonly victim: Victim; readonly afterMs: number },
  ): Promise<Ended & { readonly killed: boolean }> {
    const startedAt = performance.now();
    const config = this.#stage.folder.join('bench.conf');
    let killed = false;
    let isOver = false;
    const ended = await new Promise<Ended>((resolve) => {
      const child = execFile(process.execPath, [BIN, ...args, '-c', config], (_error, out, err) => {
        isOver = true;
        resolve({ code: child.exitCode, ms: performance.now() - startedAt, text: `${out}${err}`.trim() });
      });
      child.stdin?.end();
      if (kill)
        void sleep(kill.afterMs).then(() => {
          const pids = isOver ? [] : this.#pidsOf(kill.victim, child.pid);
          for (const pid of pids) process.kill(pid, 'SIGKILL');
          killed = pids.length > 0 && !isOver;
        });
    });
    return { ...ended, killed };
  }

  #pidsOf(victim: Victim, commandPid: number | undefined): readonly number[] {
    const { nats, postgres } = this.#stage.pids;
    const pids = {
      'nats-server': [nats],
      PostgreSQL: [postgres],
      command: [commandPid],
      'mr-chase': victim === 'mr-chase' ? actorPids('mr-chase', this.#masterPid) : [],
      'file-juggler': victim === 'file-juggler' ? actorPids('file-juggler', this.#masterPid) : [],
    }[victim];
    return pids.flatMap((pid) => pid ?? []);
  }

  /** Repeats a command until it succeeds; returns how often it was run, and what it said when it failed. */
  async repeat(args: readonly string[]): Promise<{ readonly runs: number; readonly failures: string[] }> {
    const failures: string[] = [];
    for (let runs = 1; ; runs += 1) {
      const { code, text } = await this.run(args);
      if (code === 0) return { runs, failures };
      failures.push(`exit ${String(code)}: ${text}`);
      if (runs >= MAX_REPETITIONS) return { runs, failures };
      await sleep(REPETITION_PAUSE_MS);
    }
  }

  /** Waits until the farm answers. */
  async untilAnswered(): Promise<void> {
    const { failures } = await this.repeat(['abi', 'list']);
    if (failures.length >= MAX_REPETITIONS) throw new Error(failures.at(-1));
  }

  /** Writes wheels of a new version, as files of the user who imports them. */
  async makeSources(name: string): Promise<readonly Source[]> {
    const folder = join(this.#stage.folder.path, 'sources', name);
    mkdirSync(folder, { recursive: true });
    const sources: Source[] = [];
    for (const tag of WHEEL_TAGS) {
      const path = await makeWheel(folder, { name, tag, files: { 'data.bin': randomBytes(WHEEL_BYTES) } });
      sources.push({ path, filename: basename(path), sha256: (await hashFile(path)).sha256 });
    }
    return sources;
  }

  /** Imports a package undisturbed. */
  async importPackage(name: string): Promise<void> {
    const sources = await this.makeSources(name);
    const { failures } = await this.repeat(['import', '-y', '-d', ...sources.map(({ path }) => path)]);
    if (failures.length > 0) throw new Error(failures.join('\n'));
    await this.audit.pagesWritten(name);
  }

  /** Returns whether a row exists. */
  async exists(from: string, ...parameters: readonly unknown[]): Promise<boolean> {
    return (await this.#db.query(`select 1 from ${from}`, parameters)).length > 0;
  }
}

/** The commands, each of which prepares what it needs. */
const TRIALS: Readonly<Record<string, (commands: Commands, name: string) => Promise<Trial>>> = {
  import: async (commands, name) => {
    const sources = await commands.makeSources(name);
    return {
      args: ['import', '-y', '-d', ...sources.map(({ path }) => path)],
      sources,
      undone: async () => {
        const listed = (await commands.audit.listedFiles(name)).map(({ sha256 }) => sha256);
        return [
          ...sources
            .filter(({ sha256 }) => !listed.includes(sha256))
            .map(({ filename }) => `${filename} is not listed`),
          ...sources
            .filter(({ path }) => existsSync(path))
            .map(({ filename }) => `${filename} was not deleted`),
          ...((await commands.audit.buildCount(name)) === 1 ? [] : ['there is not one build']),
        ];
      },
    };
  },
  'remove VERSION': async (commands, name) => {
    await commands.importPackage(name);
    return {
      args: ['remove', name, '1.0', '-y', '--skip=chaos'],
      sources: [],
      undone: async () => [
        ...(await commands.audit.listedFiles(name)).map(({ filename }) => `${filename} is still listed`),
        ...((await commands.audit.buildCount(name)) === 0 ? [] : ['its build is still there']),
      ],
    };
  },
  'remove --all-versions': async (commands, name) => {
    await commands.importPackage(name);
    return {
      args: ['remove', name, '--all-versions', '-y'],
      sources: [],
      undone: async () =>
        (await commands.exists('packages where package = $1', name)) ? ['the package is still there'] : [],
    };
  },
  add: async (commands, name) => {
    await commands.repeat(['add', name]);
    return {
      args: ['add', name, '1.0', '--yank', 'chaos', '--skip', 'chaos'],
      sources: [],
      undone: async () =>
        (await commands.exists(
          `versions join packages using (package_id) where package = $1 and version = '1.0'
             and versions.yanked is not null and versions.skip is not null`,
          name,
        ))
          ? []
          : ['the version is not there, or not yanked, or not skipped'],
    };
  },
  rebuild: async (commands, name) => {
    await commands.importPackage(name);
    const page = join(commands.outputPath, 'simple', name, 'index.html');
    rmSync(page);
    return {
      args: ['rebuild', 'index', name],
      sources: [],
      undone: async () => {
        await commands.audit.pagesWritten(name);
        return existsSync(page) ? [] : [`${page} was not written again`];
      },
    };
  },
};

/** How long a command takes, and how much of that before its first request; milliseconds. */
interface Duration {
  readonly startMs: number;
  readonly totalMs: number;
}

interface Row {
  readonly victim: Victim;
  readonly command: string;
  readonly kills: number;
  readonly succeeded: number;
  readonly repeated: number;
  readonly faults: number;
}

let packages = 0;
const newName = (): string => `chaos${(packages += 1)}`;

/** Runs one command and kills the victim during it; returns undefined if the command was over before. */
async function tryOnce(
  commands: Commands,
  command: string,
  victim: Victim,
  { startMs, totalMs }: Duration,
): Promise<
  { readonly succeeded: boolean; readonly faults: readonly string[]; readonly text: string } | undefined
> {
  const name = newName();
  const trial = await TRIALS[command]?.(commands, name);
  if (!trial) throw new Error(`there is no command ${command}`);
  const afterMs = startMs + Math.random() * (totalMs - startMs);
  const { code, text, killed } = await commands.run(trial.args, { victim, afterMs });
  const faults: string[] = [];
  if (killed) faults.push(...(await commands.audit.lostSources(name, trial.sources)));
  if (code === 0) {
    await commands.untilAnswered();
    faults.push(...(await trial.undone()));
  } else {
    const missing = trial.sources.filter(({ path }) => !existsSync(path));
    if (missing.length > 0 && code !== null)
      faults.push(`it failed, and ${missing.length} files were deleted`);
    // An import that was killed while it deleted its files is done.
    if (missing.length === 0) {
      const { failures, runs } = await commands.repeat(trial.args);
      const isGone = failures.every((failure) => failure.includes('there is no package'));
      if (runs > failures.length) faults.push(...(await trial.undone()));
      else if (command !== 'remove --all-versions' || !isGone)
        faults.push(`repeated ${runs} times, it failed: ${failures.at(-1) ?? ''}`);
    }
  }
  await commands.untilAnswered();
  faults.push(...(await commands.audit.differences(name)));
  return killed ? { succeeded: code === 0, faults, text } : undefined;
}

/** Measures how long a command takes undisturbed. */
async function measure(commands: Commands, command: string): Promise<Duration> {
  const { ms: listMs } = await commands.run(['abi', 'list']);
  const trial = await TRIALS[command]?.(commands, newName());
  const { ms, code, text } = await commands.run(trial?.args ?? []);
  if (code !== 0) throw new Error(`piw ${command} undisturbed: ${text}`);
  return { startMs: Math.min(listMs, ms) * 0.7, totalMs: ms };
}

async function main(stage: BenchEnvironment): Promise<number> {
  const times = Number(values.times);
  const master = stage.startMaster({});
  const db = await Database.open(stage.dsn, 'chaos', { connections: 1, lazy: true });
  const commands = new Commands(stage, db, master.pid);
  await commands.untilAnswered();
  await commands.repeat(['abi', 'add', 'cp311', '--platform', 'linux_x86_64']);
  const names = Object.keys(TRIALS).filter((name) => values.command === undefined || name === values.command);
  const rows: Row[] = [];
  const durations = new Map<string, Duration>();
  for (const name of names) {
    const duration = await measure(commands, name);
    durations.set(name, duration);
    console.log(`${name}: ${Math.round(duration.totalMs)} ms undisturbed`);
  }
  for (const victim of VICTIMS.filter((name) => values.victim === undefined || name === values.victim)) {
    const counts = new Map<string, { kills: number; succeeded: number; repeated: number; faults: number }>();
    for (let n = 0; n < times; n += 1) {
      const command = names[n % names.length] ?? 'import';
      const duration = durations.get(command) ?? { startMs: 0, totalMs: 1000 };
      const count = counts.get(command) ?? { kills: 0, succeeded: 0, repeated: 0, faults: 0 };
      counts.set(command, count);
      for (let tries = 0; tries < MAX_TRIES; tries += 1) {
        const outcome = await tryOnce(commands, command, victim, duration);
        if (!outcome) continue;
        const { succeeded, faults, text } = outcome;
        count.kills += 1;
        if (succeeded) count.succeeded += 1;
        else count.repeated += 1;
        if (faults.length > 0) count.faults += 1;
        console.log(
          `${victim.padEnd(13)} ${command.padEnd(22)} ${succeeded ? 'succeeded' : `repeated: ${text}`}`,
        );
        for (const fault of faults) console.log(`  FAULT: ${fault}`);
        break;
      }
    }
    for (const [command, count] of counts) rows.push({ victim, command, ...count });
  }
  await db.close();
  console.log(
    `\n${'killed'.padEnd(13)} ${'during'.padEnd(22)} ${['kills', 'succeeded', 'repeated', 'faults'].map((word) => word.padStart(9)).join(' ')}`,
  );
  for (const { victim, command, ...counts } of rows)
    console.log(
      `${victim.padEnd(13)} ${command.padEnd(22)} ${Object.values(counts)
        .map((count) => String(count).padStart(9))
        .join(' ')}`,
    );
  const faults = rows.reduce((sum, row) => sum + row.faults, 0);
  const kills = rows.reduce((sum, row) => sum + row.kills, 0);
  console.log(`${kills} kills, ${faults} with faults`);
  return faults === 0 ? 0 : 1;
}

process.exitCode = await withBenchEnvironment(console.log, main);

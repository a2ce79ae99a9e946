import { Actor, type ActorContext, type From } from '../src/actor/actor.js';
import { Batch } from '../src/actor/batch.js';
import { Client } from '../src/actor/client.js';
import { DAY_MS } from '../src/bus/objects.js';
import { PiwError, reason } from '../src/errors.js';
import type { FileTuple } from '../src/protocols/fields.js';
import { builds, pending, type Grant } from '../src/protocols/builds.js';
import { slaveControl, status } from '../src/protocols/control.js';
import { failureClass, failureKind } from '../src/states/failure.js';
import { fileToMessage } from '../src/states/file-state.js';
import { BUCKET_BYTES, bucketOf, fileSystem } from '../src/protocols/file-juggler.js';
import { oracle, type Kill, type LoggedBuild } from '../src/protocols/oracle.js';
import {
  slaveDriver,
  wake,
  type BuildOrder,
  type Built,
  type SlaveAnswer,
  type SlaveHello,
} from '../src/protocols/slave-driver.js';
import { secretary } from '../src/protocols/web.js';
import { BuildState, type FileTransfer } from '../src/states/build-state.js';
import { SlaveState } from '../src/states/slave-state.js';
import { PROTOCOL, VERSION } from '../src/version.js';
import { refuseFile, refuseTarget } from '../src/wheels/accept.js';

export interface SlaveDriverSettings {
  readonly indexUrl: string;
  readonly extraIndexUrl: string | null;
  readonly registerTargets: boolean;
  /** What a build may use: seconds, bytes of log, bytes of a wheel. */
  readonly limits: readonly [number, number, number];
}

type Outcome = readonly [outcome: string, buildId: number | null, againS: number | null];

type Told = Promise<SlaveAnswer> | SlaveAnswer;

/** How long a slave waits at most when there is nothing for it; it is woken earlier. */
const SLEEP_S = 10;
/** How often it is looked whether a target that was unknown is registered by now, seconds. */
const TARGETS_S = 5;
/** How often the leases of those who send are renewed, seconds, and for how long after a word of theirs, milliseconds. */
const SENDING = { renewS: 5, mostMs: 3_600_000 };
/** A question for a build is put again if there was something while it was under way; so often in all. */
const ASKED = 3;
/** How often one file is asked for before its build counts as failed. */
const MAX_TRIES = 3;
/** What a slave was to give up may be another's so much later, seconds: not the same one's again at once. */
const SKIPPED_S = 600;
/** What a slave that is out of order had is another's so much later, seconds. */
const HELD_S = 60;
/** How long it is waited for slaves to hear that they are to end, milliseconds. */
const GONE_MS = 3000;
/** A clock that is wrong by more than this is said so. */
const CLOCK_MS = 300_000;
const DONE = { verb: 'DONE' } as const;
/**
 * How many sessions and unanswered questions a user may have: a slave has one of each for every interpreter.
 * Of sessions the one that has been silent longest is forgotten; it says HELLO again if it still is one.
 */
const PER_USER = { sessions: 1000, questions: 1000 };
/** Each new session is a row of the database. A user that has begun PER_USER.sessions may begin one a second. */
const SESSION_MS = 1000;
/** What a build may take over its limit, for what is done before and after it, seconds. */
const OVERTIME_S = 3600;
/** The bytes of all files of one build, in those of the largest single one. */
const FILES = 2;
/** A slave that is silent for so long is shown no more; its lease has long run out. */
const FORGET_MS = 3_600_000;

/**
 * Talks to the build slaves. The slaves drive: each asks, and is told what to do next (the table of
 * questions and answers stands in protocols/slave-driver.ts). For each session:
 *
 *   HELLO   makes it known, whatever was before
 *   IDLE    a build is asked of the Architect, who grants it as a lease; if the slave was given one
 *           whose BUILD got lost, it is given the same again
 *   REST    it can't work now, and says why; what it had is given back
 *   BUSY    the lease is renewed; DONE when it is another's by now, or is to be given up
 *   BUILT   a failure is logged; files of a success are checked against the lease, announced to the
 *           File Juggler and asked for, one by one
 *   SENT    the File Juggler verifies; then the next file, or, when all are in place, the build is
 *           logged and its pages are due
 *
 * Everything is kept by the database (leases, results) or the slave (the files, until DONE). What is
 * in memory here is lost with the process: a session that isn't known is answered
 * PIW_UNKNOWN_SLAVE, says HELLO again and repeats itself; SENT without a build is answered
 * PIW_UNKNOWN_TRANSFER, and the slave says BUILT again. Questions of one session are answered one
 * after the other, so that one that was put twice finds what the first has done.
 */
export class SlaveDriver extends Actor {
  readonly #settings: SlaveDriverSettings;
  readonly #slaves = new Map<string, SlaveState>();
  readonly #turns = new Map<string, Promise<unknown>>();
  readonly #questions = new Map<string, number>();
  /** Until when each user has used up its new sessions, at one a second, milliseconds since 1970. */
  readonly #begun = new Map<string, number>();
  /** Users of which that has been said. */
  readonly #tooMany = new Set<string>();
  readonly #unknownTargets = new Set<string>();
  /** How often each target became ready. */
  readonly #ready = new Map<string, number>();
  readonly #changed = new Set<SlaveState>();
  readonly #buckets = new Map<string, Promise<void>>();
  readonly #database: Client<typeof oracle.verbs>;
  readonly #files: Client<typeof fileSystem.verbs>;
  readonly #architect: Client<typeof builds.verbs>;
  readonly #secretary: Client<typeof secretary.verbs>;
  readonly #status: Client<typeof status.verbs>;
  readonly #next: Batch<SlaveState, Grant>;
  readonly #renew: Batch<SlaveState, boolean>;
  readonly #results: Batch<LoggedBuild, Outcome>;

  constructor(context: ActorContext, settings: SlaveDriverSettings) {
    super(context);
    this.#settings = settings;
    const patient = { timeoutMs: 10_000, patienceMs: 30_000 };
    this.#database = new Client(this.bus, oracle, undefined, patient);
    this.#files = new Client(this.bus, fileSystem, undefined, patient);
    // Put again only where nobody heard it: what was given out for a question that got no answer is nobody's.
    this.#architect = new Client(this.bus, builds, undefined, { timeoutMs: 4000, patienceMs: 4000 });
    this.#secretary = new Client(this.bus, secretary, undefined, { timeoutMs: 3000, patienceMs: 15_000 });
    this.#status = new Client(this.bus, status);
    this.#next = new Batch({
      run: (slaves) => this.#askNext(slaves),
      maxItems: 100,
      maxInFlight: 4,
      delayMs: 1,
    });
    this.#renew = new Batch({
      run: (slaves) => this.#askRenew(slaves),
      maxItems: 200,
      maxInFlight: 2,
      delayMs: 5,
    });
    this.#results = new Batch<LoggedBuild, Outcome>({
      run: async (results) => (await this.#database.ask('LOGBUILD', { builds: [...results] })).outcomes,
      maxItems: 64,
      size: (result) => result.output.length,
      maxBytes: 8 * 1024 * 1024,
      // Nobody notices so short a wait, and a transaction for each build costs several times as much as one for
      // ten. More at once, or for more, would keep a core from whoever asks for the next build.
      ...{ maxInFlight: 1, delayMs: 20 },
    });
  }

  override start(): void {
    const turn =
      <M>(handle: (slave: SlaveState, message: M) => Told) =>
      (message: M, from: From): Promise<never> =>
        this.#inTurn(from, async () => {
          const slave = this.#known(from);
          slave.lastSeen = this.clock.now();
          if (slave.kill === 'now') return (await this.#dismiss(slave)) as never;
          return (await handle(slave, message)) as never;
        });
    this.serve(
      slaveDriver,
      {
        HELLO: (hello, from) => this.#inTurn(from, () => this.#hello(hello, from)) as never,
        IDLE: turn<{ stats: SlaveState['stats'] }>((slave, { stats }) => {
          slave.stats = stats;
          return this.#idle(slave);
        }),
        REST: turn<{ reason: string; stats: SlaveState['stats'] }>((slave, { reason: why, stats }) => {
          slave.stats = stats;
          return this.#rest(slave, why);
        }),
        BUSY: turn<{ lease: number; stats: SlaveState['stats'] }>((slave, { lease, stats }) => {
          slave.stats = stats;
          return this.#busy(slave, lease);
        }),
        BUILT: turn<Built>((slave, built) => this.#built(slave, built)),
        SENT: turn<{ lease: number; filename: string }>((slave, sent) =>
          this.#sent(slave, sent.lease, sent.filename),
        ),
        BYE: (_, from) => this.#inTurn(from, () => this.#bye(from)) as never,
      },
      {
        tokens: [slaveDriver.name, '*', '*'],
        concurrency: 10_000,
        bucketOf: ({ tokens }) => bucketOf(this.bus.prefix, tokens[1] ?? ''),
      },
    );
    this.serve(slaveControl, {
      KILL: async ({ slave_id, after_build }) => {
        const kill = after_build ? 'after' : 'now';
        const slaves = await this.#wish(slave_id, { asleep: null, kill }, (slave) => (slave.kill = kill));
        if (!after_build) await this.#untilGone(slaves);
        return DONE;
      },
      SLEEP: async ({ slave_id }) => {
        await this.#wish(slave_id, { asleep: true, kill: null }, (slave) => (slave.asleep = true));
        return DONE;
      },
      WAKE: async ({ slave_id }) => {
        await this.#wish(slave_id, { asleep: false, kill: null }, (slave) => {
          slave.asleep = false;
          slave.fine();
        });
        return DONE;
      },
      SKIP: async ({ slave_id }) => {
        await this.#prompt(this.#named(slave_id), (slave) => (slave.skip = slave.lease !== undefined));
        return DONE;
      },
      HELLO: async () => {
        const slaves = [...this.#slaves.values()].map((slave) => slave.row());
        for (const slave of slaves) await this.#status.publish('SLAVE', { slave });
        return { verb: 'SLAVES', slaves } as const;
      },
    });
    this.serve(
      pending,
      {
        READY: ({ abi, platform }) => {
          const target = `${abi} on ${platform}`;
          this.#ready.set(target, (this.#ready.get(target) ?? 0) + 1);
          return this.#wakeAll(({ hello }) => targetOf(hello) === target);
        },
      },
      { queue: null },
    );
    this.every(0.25, () => this.#tell());
    this.every(SENDING.renewS, () => this.#renewSending());
    this.every(TARGETS_S, () => this.#lookForTargets());
    this.every(
      60,
      () => {
        this.#forget();
      },
      60,
    );
  }

  protected override async pauseChanged(): Promise<void> {
    if (!this.paused) await this.#wakeAll(() => true);
  }

  async #hello(hello: SlaveHello, from: From): Promise<SlaveAnswer> {
    const [, user = '', session = ''] = from.tokens;
    const protocol = Number(hello.version.split('/')[1]);
    if (protocol !== PROTOCOL) {
      const reason = `this master is piw ${VERSION} with protocol ${String(PROTOCOL)}; install the same version here`;
      this.log.warning(`a slave of version ${hello.version} was refused`);
      return { verb: 'BYE', reason };
    }
    const fault = refuseTarget(hello);
    if (fault !== undefined) {
      this.log.warning(`a slave of ${user} was refused: ${fault}`);
      return { verb: 'BYE', reason: fault };
    }
    if (!this.#slaves.has(keyOf(from))) this.#admit(user);
    await this.#bucket(user);
    const { slave_id, known_target, asleep, kill } = await this.#database.ask('HELLOSLAVE', {
      user,
      session,
      label: hello.label,
      abi: hello.abi_tag,
      platform: hello.platform_tag,
      py_version_tag: hello.py_version_tag,
      os_name: hello.os_name,
      os_version: hello.os_version,
      board: hello.board,
      register: this.#settings.registerTargets,
    });
    const now = this.clock.now();
    const key = keyOf(from);
    if (!this.#slaves.has(key)) this.#makeRoom(user);
    // One that is known began anew on our side only: what it was given is still its own.
    const slave = this.#slaves.get(key) ?? new SlaveState(slave_id, user, session, hello, known_target, now);
    this.#slaves.set(key, Object.assign(slave, { hello, known: known_target, asleep, kill, lastSeen: now }));
    if (Math.abs(hello.clock - now) > CLOCK_MS)
      this.log.warning(
        `the clock of slave ${String(slave_id)} (${hello.label}) differs from this one by minutes`,
      );
    const target = targetOf(hello);
    this.log.info(`slave ${String(slave_id)} (${hello.label}) says HELLO: ${target}`);
    if (!known_target && !this.#unknownTargets.has(target)) {
      this.#unknownTargets.add(target);
      this.log.warning(
        `nothing is built for ${target}: piw abi add ${hello.abi_tag} --platform ${hello.platform_tag}`,
      );
    }
    this.#show(slave);
    return {
      verb: 'HELLO',
      slave_id,
      index_url: this.#settings.indexUrl,
      extra_index_url: this.#settings.extraIndexUrl,
    };
  }

  async #idle(slave: SlaveState): Promise<SlaveAnswer> {
    if (slave.kill !== null) return this.#dismiss(slave);
    if (slave.order !== undefined) return slave.order as SlaveAnswer;
    // It has forgotten what it was doing (it never got BUILD, or lost its result).
    await this.#giveBack(slave);
    if (this.paused) return this.#sleep(slave, 'the master is paused');
    const why = slave.idleBecause(this.clock.now());
    if (why !== undefined) return this.#sleep(slave, why);
    if (!slave.known) return this.#sleep(slave, 'nothing is built for its ABI and platform');
    const grant = await this.#ask(slave);
    if (grant === null) return this.#sleep(slave);
    const [lease, , name, version, sdist_url, sdist_sha256] = grant;
    const { abi_tag: abi, platform_tag: platform } = slave.hello;
    slave.lease = { lease, package: name, version, abi, platform };
    const order: BuildOrder = {
      verb: 'BUILD',
      lease,
      package: name,
      version,
      abi,
      sdist_url,
      sdist_sha256,
      limits: [...this.#settings.limits],
    };
    slave.order = order;
    slave.become('building', this.clock.now());
    this.log.debug(`slave ${String(slave.slaveId)} builds ${name} ${version}`);
    this.#show(slave);
    return order;
  }

  /** Slaves of a target that has been registered since their HELLO begin to work. */
  async #lookForTargets(): Promise<void> {
    const idle = [...this.#slaves.values()].filter(({ known }) => !known);
    if (idle.length === 0) return;
    const { targets } = await this.#database.ask('GETABIS', {});
    const registered = new Set(targets.map(({ abi, platform }) => `${abi} on ${platform}`));
    for (const slave of idle) slave.known = registered.has(targetOf(slave.hello));
    for (const target of registered) this.#unknownTargets.delete(target);
    await this.#wakeAll((slave) => slave.known && idle.includes(slave));
  }

  /** Not now: because there is nothing, or for a reason that people are shown. */
  #sleep(
    slave: SlaveState,
    why: string | null = null,
    activity: 'waiting' | 'resting' = 'waiting',
  ): SlaveAnswer {
    if (slave.activity !== activity || slave.note !== why) {
      slave.become(activity, this.clock.now(), why);
      this.#show(slave);
    }
    return { verb: 'SLEEP', seconds: SLEEP_S, paused: this.paused || slave.asleep };
  }

  async #rest(slave: SlaveState, why: string): Promise<SlaveAnswer> {
    if (slave.kill !== null) return this.#dismiss(slave);
    if (slave.activity !== 'resting') {
      this.log.warning(`slave ${String(slave.slaveId)} (${slave.hello.label}) takes no work: ${why}`);
    }
    await this.#giveBack(slave);
    return this.#sleep(slave, why, 'resting');
  }

  /** What it has goes back to the queue, and is given out again when `holdS` seconds are over. */
  async #giveBack(slave: SlaveState, holdS = 0): Promise<void> {
    if (slave.lease) {
      const leases: [number, number][] = [[slave.lease.lease, slave.slaveId]];
      await this.#architect.ask('RELEASE', { leases, hold_s: holdS });
    }
    slave.clear();
  }

  /** It is to give up what it builds. */
  async #skipped(slave: SlaveState): Promise<SlaveAnswer> {
    const { package: name = '', version = '' } = slave.lease ?? {};
    this.log.info(`slave ${String(slave.slaveId)} gives up ${name} ${version}: an administrator said so`);
    await this.#giveBack(slave, SKIPPED_S);
    return this.#done(slave);
  }

  async #busy(slave: SlaveState, lease: number): Promise<SlaveAnswer> {
    if (!(await this.#holds(slave, lease))) return DONE;
    slave.order = undefined;
    if (slave.skip) return await this.#skipped(slave);
    const most = Math.min(this.#settings.limits[0], slave.hello.build_timeout_s) + OVERTIME_S;
    if (slave.activity === 'building' && this.clock.now() - slave.since > most * 1000) {
      this.log.warning(`slave ${String(slave.slaveId)}: its build takes longer than it may; it goes back`);
      await this.#giveBack(slave, HELD_S);
      return this.#done(slave);
    }
    if (slave.activity !== 'sending') slave.become('building', this.clock.now());
    return (await this.#keep(slave)) ? { verb: 'CONT' } : this.#done(slave);
  }

  /** A build for a slave, or null; what becomes ready while it is asked for is asked for again. */
  async #ask(slave: SlaveState): Promise<Grant> {
    const target = targetOf(slave.hello);
    for (let asked = 1; ; asked += 1) {
      const before = this.#ready.get(target);
      const grant = await this.#next.add(slave).catch((error: unknown) => {
        if (error instanceof PiwError) return null;
        throw error;
      });
      if (grant !== null || asked >= ASKED || this.#ready.get(target) === before) return grant;
    }
  }

  /** Renews a lease; false: it is another's by now. */
  async #keep(slave: SlaveState): Promise<boolean> {
    return await this.#renew.add(slave).catch((error: unknown) => {
      // Whether it was renewed can't be known now; it is asked again soon.
      if (error instanceof PiwError) return true;
      throw error;
    });
  }

  /** A slave that sends says nothing meanwhile, which may take long on a slow line. */
  async #renewSending(): Promise<void> {
    const since = this.clock.now() - SENDING.mostMs;
    const sending = [...this.#slaves.values()].filter(
      ({ build, lease, lastSeen }) => build !== undefined && lease !== undefined && lastSeen > since,
    );
    await Promise.all(sending.map((slave) => this.#keep(slave)));
  }

  async #built(slave: SlaveState, built: Built): Promise<SlaveAnswer> {
    if (!(await this.#holds(slave, built.lease))) {
      this.log.info(
        `slave ${String(slave.slaveId)}: the result of lease ${String(built.lease)} is not wanted any more`,
      );
      return DONE;
    }
    slave.order = undefined;
    const { lease, hello } = slave;
    if (!lease) return this.#done(slave);
    if (slave.skip) return await this.#skipped(slave);
    if (!built.status && (await this.#outOfOrder(slave, built))) return this.#done(slave);
    if (built.status) slave.fine();
    if (!built.status || built.files.length === 0) {
      const failure = built.status ? 'no-wheel' : built.failure_class;
      return this.#finish(slave, { ...built, status: false, failure_class: failure, files: [] }, []);
    }
    const build = new BuildState(lease, built);
    const refusal =
      build.files
        .map(({ file }) => refuseFile(file, lease, hello.platform_tag, this.#settings.limits[2]))
        .find((why) => why !== undefined) ?? refuseFiles(build, this.#settings.limits[2] * FILES);
    if (refusal !== undefined) return this.#refused(slave, built, refusal);
    if (!(await this.#keep(slave))) return this.#lost(slave);
    slave.build = build;
    for (const { transferId, file } of build.files) {
      await this.#files.ask('EXPECT', {
        transfer_id: transferId,
        sender: slave.user,
        file_state: fileToMessage({ ...file, transferred: false }),
      });
    }
    return this.#send(slave, build);
  }

  async #sent(slave: SlaveState, lease: number, filename: string): Promise<SlaveAnswer> {
    const build = slave.build;
    const transfer = build?.files.find(({ file }) => file.filename === filename);
    if (!build || !transfer || build.lease.lease !== lease) {
      throw new PiwError('PIW_UNKNOWN_TRANSFER', `lease ${String(lease)} has no file ${filename} under way`);
    }
    if (slave.skip) return await this.#skipped(slave);
    // What is verified is published: not for a build that is another's by now.
    if (!(await this.#keep(slave))) return this.#lost(slave);
    const verdict = await this.#files.ask('VERIFY', {
      transfer_id: transfer.transferId,
      package: build.lease.package,
    });
    switch (verdict.verb) {
      case 'VERIFIED':
        transfer.metadataSha256 = verdict.metadata_sha256;
        transfer.requiresPython = verdict.requires_python;
        break;
      case 'AGAIN':
        this.log.warning(`slave ${String(slave.slaveId)}, ${filename}: ${verdict.reason}`);
        if (transfer.tries >= MAX_TRIES) return this.#refused(slave, build.built, verdict.reason);
        break;
      case 'REFUSED':
        if (verdict.code !== 'PIW_FILE_EXISTS') return this.#refused(slave, build.built, verdict.reason);
        await this.#removeOrphan(slave, filename);
        transfer.served = true;
    }
    return this.#send(slave, build);
  }

  /**
   * True: so many of its builds have failed for reasons of its surroundings that this one says nothing of its
   * package. It goes back to the queue, and the slave rests.
   */
  async #outOfOrder(slave: SlaveState, { failure_class, output }: Built): Promise<boolean> {
    if (!failureKind(failureClass(failure_class)).surroundings) {
      slave.fine();
      return false;
    }
    const restMs = slave.trouble(this.clock.now());
    if (restMs === 0) return false;
    const last = output.trimEnd().split('\n').at(-1) ?? '';
    this.log.warning(
      `slave ${String(slave.slaveId)} (${slave.hello.label}) is out of order, and rests for ${String(restMs / 60_000)} min: ${last.slice(0, 300)}`,
    );
    await this.#giveBack(slave, HELD_S);
    return true;
  }

  #lost(slave: SlaveState): SlaveAnswer {
    this.log.info(`slave ${String(slave.slaveId)}: its lease ran out; its result is not wanted any more`);
    return this.#done(slave);
  }

  /**
   * A file of this name is there already. One that nothing lists, and that no other slave has just sent, was left
   * by a removal or a result that came to no end: it makes room for the slave's, which is asked for again: raises
   * PIW_UNKNOWN_TRANSFER. Any other stays: two have built the same wheel at once, and the first one counts.
   */
  async #removeOrphan(slave: SlaveState, filename: string): Promise<void> {
    const name = slave.lease?.package ?? '';
    // Once is enough: whatever is there again was put there since.
    if (slave.madeRoom.has(filename)) return;
    const placed = [...this.#slaves.values()].some(
      (other) =>
        other.build?.files.some(
          (one) => one.file.filename === filename && one.metadataSha256 !== undefined,
        ) ?? false,
    );
    if (placed) return;
    const { files } = await this.#database.ask('PKGFILES', { package: name });
    if (files.some((listed) => listed.filename === filename)) return;
    slave.madeRoom.add(filename);
    this.log.warning(`${name}/${filename} is listed nowhere; it is removed for a new one`);
    await this.#files.ask('REMOVE', { package: name, filename });
    slave.build = undefined;
    throw new PiwError('PIW_UNKNOWN_TRANSFER', `${filename} is to be sent again`);
  }

  async #send(slave: SlaveState, build: BuildState): Promise<SlaveAnswer> {
    const next = build.nextFile;
    if (!next) return this.#finish(slave, build.built, build.files);
    next.tries += 1;
    if (slave.activity !== 'sending') {
      slave.become('sending', this.clock.now());
      this.#show(slave);
    }
    return { verb: 'SEND', filename: next.file.filename, transfer_id: next.transferId };
  }

  /** The slave's files will not do: the build failed, and its log says why. */
  #refused(slave: SlaveState, built: Built, why: string): Promise<SlaveAnswer> {
    this.log.warning(`slave ${String(slave.slaveId)}: a file was refused: ${why}`);
    const output = `${built.output}\npiw: the master refused the result: ${why}\n`;
    return this.#finish(
      slave,
      { ...built, status: false, failure_class: 'wrong-wheel', output, files: [] },
      [],
    );
  }

  /** Logs the result, which ends the lease. */
  async #finish(slave: SlaveState, built: Built, files: readonly FileTransfer[]): Promise<SlaveAnswer> {
    const lease = slave.lease;
    if (!lease) return this.#done(slave);
    const failure = built.status ? null : failureClass(built.failure_class);
    const served = files.filter((one) => one.served).map(({ file }) => file.filename);
    const added =
      served.length === 0 ? '' : `\npiw: published before by another build: ${served.join(', ')}\n`;
    const [outcome, buildId, again_s] = await this.#results.add({
      lease: lease.lease,
      slave_id: slave.slaveId,
      package: lease.package,
      version: lease.version,
      abi: lease.abi,
      platform: lease.platform,
      status: built.status,
      failure_class: failure,
      duration_s: built.duration_s,
      output: `${built.output}${added}`,
      // What pip is told of a file is what the file itself says.
      files: files.flatMap(({ file, metadataSha256, requiresPython }) => {
        if (metadataSha256 === undefined) return [];
        const its = { ...file, requires_python: requiresPython, transferred: true };
        return [[fileToMessage(its), metadataSha256] as [FileTuple, string]];
      }),
    });
    this.log.debug(`slave ${String(slave.slaveId)}: ${lease.package} ${lease.version} is ${outcome}`);
    if (outcome === 'logged' && buildId !== null) {
      await this.#status.publish('BUILD', {
        slave_id: slave.slaveId,
        package: lease.package,
        version: lease.version,
        abi: lease.abi,
        status: built.status,
        failure_class: failure,
        duration_s: built.duration_s,
        again_s,
      });
      // The pages are noted with the build itself; this only makes a new file's page come sooner.
      if (files.length > 0) {
        void this.track(async () => {
          await this.#secretary.ask('PKG', { package: lease.package }).catch((error: unknown) => {
            this.log.info(`the Secretary will find ${lease.package} later: ${reason(error)}`);
          });
        });
      }
    }
    return this.#done(slave);
  }

  #done(slave: SlaveState): SlaveAnswer {
    slave.clear();
    slave.become('idle', this.clock.now());
    this.#show(slave);
    return DONE;
  }

  async #dismiss(slave: SlaveState): Promise<SlaveAnswer> {
    await this.#giveBack(slave);
    slave.become('gone', this.clock.now());
    this.#show(slave);
    return { verb: 'BYE', reason: 'an administrator said so' };
  }

  async #bye(from: From): Promise<SlaveAnswer> {
    const slave = this.#slaves.get(keyOf(from));
    if (slave) {
      await this.#giveBack(slave);
      slave.become('gone', this.clock.now());
      this.#show(slave);
      this.#slaves.delete(keyOf(from));
      this.log.info(`slave ${String(slave.slaveId)} (${slave.hello.label}) says BYE`);
    }
    return { verb: 'BYE', reason: 'goodbye' };
  }

  #known(from: From): SlaveState {
    const slave = this.#slaves.get(keyOf(from));
    if (!slave) throw new PiwError('PIW_UNKNOWN_SLAVE', 'this session has not said HELLO');
    return slave;
  }

  /**
   * Whether a slave has this lease; asked of the database where this process was not the one that gave it out. A
   * word about another one, that came late, changes nothing of what the slave has.
   */
  async #holds(slave: SlaveState, lease: number): Promise<boolean> {
    if (slave.lease) return slave.lease.lease === lease;
    const known = await this.#database.ask('GETLEASE', { lease, slave_id: slave.slaveId });
    if (known.package === null || known.version === null || known.abi === null || known.platform === null)
      return false;
    slave.lease = {
      lease,
      package: known.package,
      version: known.version,
      abi: known.abi,
      platform: known.platform,
    };
    return true;
  }

  async #askNext(slaves: readonly SlaveState[]): Promise<readonly Grant[]> {
    const { granted } = await this.#architect.ask('NEXT', {
      fence: this.context.fence(),
      lease_s: Math.max(...slaves.map((slave) => slave.leaseSeconds)),
      wants: slaves.map((slave) => [slave.slaveId, slave.hello.abi_tag, slave.hello.platform_tag]),
    });
    return granted;
  }

  async #askRenew(slaves: readonly SlaveState[]): Promise<readonly boolean[]> {
    const { lost } = await this.#architect.ask('RENEW', {
      lease_s: Math.max(...slaves.map((slave) => slave.leaseSeconds)),
      leases: slaves.flatMap(({ lease, slaveId }) =>
        lease ? [[lease.lease, slaveId] as [number, number]] : [],
      ),
    });
    const gone = new Set(lost);
    return slaves.map(({ lease }) => lease !== undefined && !gone.has(lease.lease));
  }

  /** The answers to one session's questions, one after the other. */
  #inTurn<T>(from: From, what: () => Promise<T>): Promise<T> {
    const key = keyOf(from);
    const user = from.tokens[1] ?? '';
    const questions = (this.#questions.get(user) ?? 0) + 1;
    if (questions > PER_USER.questions)
      throw new PiwError('PIW_REFUSED', `${user} has asked ${String(PER_USER.questions)} questions at once`);
    this.#questions.set(user, questions);
    const before = this.#turns.get(key) ?? Promise.resolve();
    const mine = before.then(what, what);
    this.#turns.set(key, mine);
    const over = () => {
      if (this.#turns.get(key) === mine) this.#turns.delete(key);
      const left = (this.#questions.get(user) ?? 1) - 1;
      if (left > 0) this.#questions.set(user, left);
      else this.#questions.delete(user);
    };
    mine.then(over, over);
    return mine;
  }

  /** The slave of that number, or all. Raises PIW_UNKNOWN_SLAVE. */
  #named(slaveId: number | null): readonly SlaveState[] {
    const slaves = [...this.#slaves.values()].filter(
      (slave) => slaveId === null || slave.slaveId === slaveId,
    );
    if (slaveId !== null && slaves.length === 0) {
      throw new PiwError('PIW_UNKNOWN_SLAVE', `there is no slave ${String(slaveId)}`);
    }
    return slaves;
  }

  /** Keeps an administrator's wish, also for a Slave Driver that comes after this one. */
  async #wish(
    slaveId: number | null,
    wish: { readonly asleep: boolean | null; readonly kill: Kill | null },
    apply: (slave: SlaveState) => unknown,
  ): Promise<readonly SlaveState[]> {
    const slaves = this.#named(slaveId);
    await this.#database.ask('SETSLAVES', { slave_ids: slaves.map((slave) => slave.slaveId), ...wish });
    return await this.#prompt(slaves, apply);
  }

  /** Has them say something now, whatever they are doing. */
  async #prompt(
    slaves: readonly SlaveState[],
    apply: (slave: SlaveState) => unknown,
  ): Promise<readonly SlaveState[]> {
    for (const slave of slaves) {
      apply(slave);
      await this.#wake(slave);
    }
    return slaves;
  }

  /** Until they were told BYE; those that say nothing are not waited for. */
  async #untilGone(slaves: readonly SlaveState[]): Promise<void> {
    const until = this.clock.now() + GONE_MS;
    while (this.clock.now() < until && slaves.some(({ activity }) => activity !== 'gone'))
      await new Promise<void>((resolve) => this.clock.after(50, resolve));
  }

  async #wakeAll(which: (slave: SlaveState) => boolean): Promise<void> {
    for (const slave of this.#slaves.values()) {
      if (slave.activity === 'waiting' && which(slave)) await this.#wake(slave);
    }
  }

  async #wake({ user, session }: SlaveState): Promise<void> {
    await new Client(this.bus, wake, [wake.name, user, session]).publish('WAKE', {});
  }

  /** Monitors are told a few times a second, of those that have changed. */
  #show(slave: SlaveState): void {
    this.#changed.add(slave);
  }

  async #tell(): Promise<void> {
    const changed = [...this.#changed];
    this.#changed.clear();
    for (const slave of changed) await this.#status.publish('SLAVE', { slave: slave.row() });
  }

  #bucket(user: string): Promise<void> {
    const known = this.#buckets.get(user);
    if (known) return known;
    const making = this.bus.objects.ensure({
      name: bucketOf(this.bus.prefix, user),
      maxAgeMs: DAY_MS,
      maxBytes: BUCKET_BYTES,
    });
    this.#buckets.set(user, making);
    making.catch(() => this.#buckets.delete(user));
    return making;
  }

  #admit(user: string): void {
    const now = this.clock.now();
    const until = Math.max(this.#begun.get(user) ?? 0, now) + SESSION_MS;
    if (until > now + PER_USER.sessions * SESSION_MS) {
      if (!this.#tooMany.has(user))
        this.log.warning(`${user} begins too many sessions; further ones are refused`);
      this.#tooMany.add(user);
      throw new PiwError('PIW_REFUSED', `${user} begins too many sessions`);
    }
    this.#tooMany.delete(user);
    this.#begun.set(user, until);
  }

  /** For one more session of a user that has as many as it may. */
  #makeRoom(user: string): void {
    const its = [...this.#slaves].filter(([, slave]) => slave.user === user);
    if (its.length < PER_USER.sessions) return;
    const idle = its.filter(([, { lease }]) => lease === undefined);
    const [oldest] = idle.sort(([, a], [, b]) => a.lastSeen - b.lastSeen);
    if (!oldest)
      throw new PiwError('PIW_REFUSED', `${user} builds in ${String(its.length)} sessions already`);
    this.#slaves.delete(oldest[0]);
  }

  #forget(): void {
    const before = this.clock.now() - FORGET_MS;
    for (const [key, slave] of this.#slaves) if (slave.lastSeen < before) this.#slaves.delete(key);
  }
}

const keyOf = (from: From): string => `${from.tokens[1] ?? ''}.${from.tokens[2] ?? ''}`;

/** Why the files of a build can't be taken together. */
function refuseFiles({ files }: BuildState, maxBytes: number): string | undefined {
  const names = new Set(files.map(({ file }) => file.filename));
  if (names.size < files.length) return 'it announces one file twice';
  const bytes = files.reduce((sum, { file }) => sum + file.filesize, 0);
  return bytes > maxBytes
    ? `its files have ${String(bytes)} bytes, more than ${String(maxBytes)}`
    : undefined;
}

const targetOf = (hello: SlaveHello): string => `${hello.abi_tag} on ${hello.platform_tag}`;

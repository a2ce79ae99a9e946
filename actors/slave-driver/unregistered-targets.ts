import type { ProtocolClient } from '../../src/actor/client.js';
import type { Log } from '../../src/log.js';
import type { oracle } from '../../src/protocols/oracle.js';
import type { SlaveHello } from '../../src/protocols/slave-driver.js';
import { formatTarget, type SlaveState } from './slave-state.js';
import type { SlaveWaker } from './waker.js';

interface UnregisteredTargetsOptions {
  readonly log: Log;
  readonly database: ProtocolClient<typeof oracle.verbs>;
  readonly slaves: Iterable<SlaveState>;
  readonly waker: SlaveWaker;
}

/** The targets of slaves for which nothing is built, because they are not registered. */
export class UnregisteredTargets {
  readonly #options: UnregisteredTargetsOptions;
  /** The targets that the log has warned of. */
  readonly #warned = new Set<string>();

  constructor(options: UnregisteredTargetsOptions) {
    this.#options = options;
  }

  /** Says in the log, once per target, how to register it. */
  warn(hello: SlaveHello): void {
    const target = formatTarget(hello);
    if (this.#warned.has(target)) return;
    this.#warned.add(target);
    const { abi_tag: abi, platform_tag: platform } = hello;
    this.#options.log.warning(
      `nothing is built for ${target}; to register it: piw abi add ${abi} --platform ${platform}`,
      { abi, platform },
    );
  }

  /** Wakes the slaves whose target has been registered since their HELLO. */
  async check(): Promise<void> {
    const { database, slaves, waker } = this.#options;
    const unregistered = [...slaves].filter(({ targetRegistered }) => !targetRegistered);
    if (unregistered.length === 0) return;
    const { targets } = await database.request('GETABIS', {});
    const registered = new Set(targets.map(({ abi, platform }) => `${abi} on ${platform}`));
    for (const slave of unregistered) slave.targetRegistered = registered.has(formatTarget(slave.hello));
    for (const target of registered) this.#warned.delete(target);
    await waker.wakeWaiting((slave) => slave.targetRegistered && unregistered.includes(slave));
  }
}

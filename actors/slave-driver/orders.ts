import type { ProtocolClient } from '../../src/actor/client.js';
import type { Clock } from '../../src/concurrency/clock.js';
import type { KillMode } from '../../src/model/slave.js';
import type { oracle } from '../../src/protocols/oracle.js';
import type { SlaveHealthMonitor } from './health.js';
import type { SlaveSessions } from './slave-sessions.js';
import type { SlaveState } from './slave-state.js';
import type { SlaveWaker } from './waker.js';

/** Maximum milliseconds to wait until slaves have received the order to exit, and the interval between checks. */
const DISMISS_TIMEOUT_MS = 3000;
const DISMISS_POLL_MS = 50;

interface SlaveOrdersOptions {
  readonly clock: Clock;
  readonly database: ProtocolClient<typeof oracle.verbs>;
  readonly slaves: SlaveSessions;
  readonly waker: SlaveWaker;
  readonly health: SlaveHealthMonitor;
}

/**
 * Carries out an administrator's orders for one slave, or (null) for all. An order changes the state of the
 * slave's sessions and wakes the slave, whose next request is answered accordingly. KILL, SLEEP and WAKE are
 * stored first, so that they also hold for the next Slave Driver. All throw PIW_UNKNOWN_SLAVE if the slave has
 * no session.
 */
export class SlaveOrders {
  readonly #options: SlaveOrdersOptions;

  constructor(options: SlaveOrdersOptions) {
    this.#options = options;
  }

  /** Has the slave exit, at once or after its current build. If at once, waits until it has received BYE. */
  async kill(slaveId: number | null, afterBuild: boolean): Promise<void> {
    const kill = afterBuild ? 'after' : 'now';
    const slaves = this.#options.slaves.findBySlaveId(slaveId);
    await this.#store(slaves, { asleep: null, kill });
    await this.#apply(slaves, (slave) => {
      slave.kill = kill;
    });
    if (!afterBuild) await this.#waitUntilGone(slaves);
  }

  /** Gives the slave no more work after its current build. */
  async sleep(slaveId: number | null): Promise<void> {
    const slaves = this.#options.slaves.findBySlaveId(slaveId);
    await this.#store(slaves, { asleep: true, kill: null });
    await this.#apply(slaves, (slave) => {
      slave.asleep = true;
    });
  }

  /** Gives the slave work again, even if it was set aside or is resting. */
  async wake(slaveId: number | null): Promise<void> {
    const slaves = this.#options.slaves.findBySlaveId(slaveId);
    for (const slave of slaves) await this.#options.health.endSetAside(slave);
    await this.#store(slaves, { asleep: false, kill: null });
    await this.#apply(slaves, (slave) => {
      slave.asleep = false;
      slave.clearEnvironmentFailures();
    });
  }

  /** Has the slave abandon its current build. */
  async skip(slaveId: number | null): Promise<void> {
    await this.#apply(this.#options.slaves.findBySlaveId(slaveId), (slave) => {
      slave.skip = slave.lease !== undefined;
    });
  }

  async #store(
    slaves: readonly SlaveState[],
    order: { readonly asleep: boolean | null; readonly kill: KillMode | null },
  ): Promise<void> {
    const slave_ids = slaves.map(({ slaveId }) => slaveId);
    await this.#options.database.request('SETSLAVES', { slave_ids, ...order });
  }

  async #apply(slaves: readonly SlaveState[], change: (slave: SlaveState) => void): Promise<void> {
    for (const slave of slaves) {
      change(slave);
      await this.#options.waker.wake(slave);
    }
  }

  /** Waits until the slaves have received BYE, at most `DISMISS_TIMEOUT_MS`: silent slaves never fetch it. */
  async #waitUntilGone(slaves: readonly SlaveState[]): Promise<void> {
    const { clock } = this.#options;
    const deadline = clock.monotonicMs() + DISMISS_TIMEOUT_MS;
    while (clock.monotonicMs() < deadline && slaves.some(({ activity }) => activity !== 'gone'))
      await new Promise<void>((resolve) => clock.after(DISMISS_POLL_MS, resolve));
  }
}

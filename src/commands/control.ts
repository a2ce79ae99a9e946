import { Args } from '@oclif/core';
import { CAST, actorSpecOf } from '../../actors/cast.js';
import { ProtocolClient } from '../actor/client.js';
import type { Bus } from '../bus/bus.js';
import { PiwError } from '../errors.js';
import { control } from '../protocols/control.js';
import { oracle } from '../protocols/oracle.js';
import { PiwCommand } from './base.js';
import { suggesting } from './option-definition.js';

type ControlClient = ProtocolClient<typeof control.verbs>;

/** How long an order may take, milliseconds. The master that gets it waits up to 15 s for the database. */
const ORDER_TIMEOUT_MS = 18_000;
/** How long a request waits for a master to be there at all, milliseconds. */
const PATIENCE_MS = 4000;

/** Arguments of pause and resume. Each command declares them itself, because oclif doesn't inherit arguments. */
export const taskArgs = {
  task: suggesting(
    Args.string({
      ignoreStdin: true,
      description: 'task, e.g. cloud-gazer; piw actor --list lists them (default: all)',
    }),
    CAST.filter(({ pausing }) => pausing !== 'ignores').map(({ task }) => task),
  ),
};

/** Returns the client for orders to all masters of the farm. */
export const createControlClient = (bus: Bus): ControlClient =>
  new ProtocolClient(bus, control, undefined, { timeoutMs: ORDER_TIMEOUT_MS, patienceMs: PATIENCE_MS });

/** Returns the tasks that are paused in the database; `*` stands for all of them. */
export async function fetchPausedTasks(bus: Bus): Promise<readonly string[]> {
  const client = new ProtocolClient(bus, oracle, undefined, { timeoutMs: 4000, patienceMs: PATIENCE_MS });
  return (await client.request('GETPAUSED', {})).tasks;
}

/** Base class of the commands that pause or resume one task or all of them. */
export abstract class TaskOrderCommand extends PiwCommand {
  static override enableJsonFlag = true;

  /** Returns the task that the user named, or `*` for all. Throws PIW_UNKNOWN_TASK; PIW_REFUSED if it is never paused. */
  protected taskToOrder(input: string | undefined): string {
    if (input === undefined) return '*';
    const spec = actorSpecOf(input);
    if (spec.pausing === 'ignores')
      throw new PiwError(
        'PIW_REFUSED',
        `${spec.task} is never paused, because other tasks need it to stop cleanly`,
      );
    return spec.task;
  }
}

import type { Bus } from './bus.js';
import { busError, isNoResponders } from './errors.js';
import { errorMessage } from '../errors.js';

/** Returns why JetStream can't be used on this connection; undefined if it can. Throws PIW_DISCONNECTED. */
export async function jetStreamProblem(bus: Bus): Promise<string | undefined> {
  try {
    await (await bus.connection.jetstreamManager({ checkAPI: false })).getAccountInfo();
    return undefined;
  } catch (error) {
    if (isNoResponders(error)) return 'the servers have no JetStream';
    return errorMessage(busError(error, 'asking for JetStream'));
  }
}

import type { NatsConnection } from 'nats';

/** How often the server is pinged, and how late a pong may come before the server is reported as down, milliseconds. */
const PING_INTERVAL_MS = 2000;
const PONG_TIMEOUT_MS = 4000;
/** The same in a cluster, where we then connect to another server. */
const [CLUSTER_PING_INTERVAL_MS, CLUSTER_PONG_TIMEOUT_MS] = [1000, 1500];

/**
 * Reports when the server goes down and when it is back, until the connection is closed. If the server hangs and there
 * are others (`hasOthers`), connects to one of them.
 */
export async function monitorConnection(
  nc: NatsConnection,
  hasOthers: boolean,
  onStatus: (text: string, connected: boolean) => void,
): Promise<void> {
  let down = false;
  const [intervalMs, timeoutMs] = hasOthers
    ? [CLUSTER_PING_INTERVAL_MS, CLUSTER_PONG_TIMEOUT_MS]
    : [PING_INTERVAL_MS, PONG_TIMEOUT_MS];
  const changeStatus = (text: string, connected: boolean) => {
    down = !connected;
    onStatus(text, connected);
  };
  // A server that hangs keeps its connections open, and the client library takes half a minute to notice.
  const ping = async () => {
    let answered = false;
    const reportLate = () => {
      if (answered || nc.isClosed()) return;
      changeStatus('NATS does not answer', false);
      // Fails only if the connection has been closed meanwhile.
      if (hasOthers) void nc.reconnect().catch(() => undefined);
    };
    // If it was this process that hung, the pong may have arrived, and is read before the immediate.
    const pongTimer = setTimeout(() => setImmediate(reportLate), timeoutMs).unref();
    try {
      await nc.rtt();
      if (down) changeStatus('NATS answers again', true);
    } catch {
      // The connection broke, which the loop below reports.
    }
    answered = true;
    clearTimeout(pongTimer);
    if (!nc.isClosed()) setTimeout(() => void ping(), intervalMs).unref();
  };
  void ping();
  for await (const { type } of nc.status()) {
    const event: string = type;
    if (event === 'disconnect') changeStatus('the connection to NATS broke', false);
    if (event === 'reconnect') changeStatus('connected to NATS again', true);
  }
}

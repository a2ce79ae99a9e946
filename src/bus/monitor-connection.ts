import type { NatsConnection } from 'nats';

/** How often a single server is pinged, and how late a pong may come before it is reported as down, milliseconds. */
const [PING_INTERVAL_MS, PONG_LIMIT_MS] = [2000, 4000];

/**
 * A ping that follows more than this on the connection, bytes, may wait behind a file on a slow link. Then the server
 * counts as down when nothing has come for this long, milliseconds: each two megabytes are acknowledged.
 */
const [FILE_BYTES, FILE_PONG_LIMIT_MS] = [64 * 1024, 20_000];

interface MonitorOptions {
  /** Whether there are other servers, to which we connect if ours hangs. */
  readonly hasOthers: boolean;
  /** How late a pong may come, if there are other servers. They are pinged twice as often. */
  readonly pongLimitMs: number;
  /** The server went down, or is back. */
  readonly onStatus: (text: string, connected: boolean) => void;
  /** Another server of the cluster has gone: what was on its way through that server is lost. */
  readonly onOtherGone: () => void;
}

/** Reports changes of the server and its cluster until the connection is closed. */
export async function monitorConnection(nc: NatsConnection, options: MonitorOptions): Promise<void> {
  const { hasOthers, pongLimitMs, onStatus, onOtherGone } = options;
  let down = false;
  let others = serversOf(nc);
  const [intervalMs, limitMs] = hasOthers
    ? [pongLimitMs / 2, pongLimitMs]
    : [PING_INTERVAL_MS, PONG_LIMIT_MS];
  const changeStatus = (text: string, connected: boolean) => {
    down = !connected;
    onStatus(text, connected);
  };
  let publishedBeforePong = 0;
  // A server that hangs keeps its connections open, and the client library takes half a minute to notice.
  const ping = async () => {
    const { outBytes, inMsgs } = nc.stats();
    const patienceMs = outBytes - publishedBeforePong > FILE_BYTES ? FILE_PONG_LIMIT_MS : limitMs;
    let heardAt = performance.now();
    let received = inMsgs;
    const cancel = repeatedly(limitMs / 4, () => {
      const { inMsgs: receivedNow } = nc.stats();
      if (receivedNow > received) heardAt = performance.now();
      received = receivedNow;
      if (performance.now() - heardAt < patienceMs || nc.isClosed()) return;
      cancel();
      changeStatus('NATS does not answer', false);
      // Fails only if the connection has been closed meanwhile.
      if (hasOthers) void nc.reconnect().catch(() => undefined);
    });
    try {
      await nc.rtt();
      publishedBeforePong = outBytes;
      if (down) changeStatus('NATS answers again', true);
    } catch {
      // The connection broke, which the loop below reports.
    }
    cancel();
    if (!nc.isClosed()) setTimeout(() => void ping(), intervalMs).unref();
  };
  void ping();
  for await (const { type } of nc.status()) {
    const event: string = type;
    if (event === 'disconnect') changeStatus('the connection to NATS broke', false);
    if (event === 'reconnect') changeStatus('connected to NATS again', true);
    if (event !== 'update') continue;
    const current = serversOf(nc);
    if (others.some((url) => !current.includes(url))) onOtherGone();
    others = current;
  }
}

/** The addresses of the cluster's servers, as the server that we are connected to knows them. */
const serversOf = (nc: NatsConnection): readonly string[] => nc.info?.connect_urls ?? [];

/** Calls `check` at intervals, after what has arrived in the meantime has been read. Returns a function that ends it. */
function repeatedly(intervalMs: number, check: () => void): () => void {
  let immediate: NodeJS.Immediate | undefined;
  // If it was this process that hung, the pong may have arrived, and is read before the immediate.
  const timer = setInterval(() => (immediate = setImmediate(check)), intervalMs).unref();
  return () => {
    clearInterval(timer);
    clearImmediate(immediate);
  };
}

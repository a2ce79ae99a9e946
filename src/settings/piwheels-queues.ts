/** The options and keys that give piwheels' programs the addresses of their ZeroMQ queues. */
export const QUEUE_KEYS = [
  'status-queue',
  'control-queue',
  'import-queue',
  'log-queue',
  'slave-queue',
  'file-queue',
  'web-queue',
  'builds-queue',
  'db-queue',
  'fs-queue',
  'stats-queue',
  // Of piwheels 0.10.
  'index-queue',
] as const;

export const isQueueKey = (key: string): boolean => (QUEUE_KEYS as readonly string[]).includes(key);

/** Returns the line that says what stands in the place of these options or keys. */
export const queueNotice = (names: readonly string[]): string =>
  `${names.join(', ')} ${names.length === 1 ? 'has' : 'have'} no effect: piw has NATS subjects instead of ZeroMQ queues; --nats and --prefix say where they are`;

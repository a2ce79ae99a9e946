/** The fields of a line that matter here. Text is as in the log: bytes as Latin-1, escaped by the server. */
export interface LogLine {
  readonly host: string;
  /** Seconds since 1970, UTC. */
  readonly time: number;
  /** Method, target and HTTP version, or whatever the client sent instead. */
  readonly request: string;
  readonly status: number;
  /** User agent; '' if the format has none. */
  readonly agent: string;
}

/** What of a line may matter. All text is as it stands there: bytes as Latin-1, escaped by the server. */
export interface LogLine {
  readonly host: string;
  /** Seconds since 1970, UTC. */
  readonly time: number;
  /** Method, target and version; or what somebody sent in their place. */
  readonly request: string;
  readonly status: number;
  /** '' where the format has none. */
  readonly agent: string;
}

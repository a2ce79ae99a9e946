export const WEB_SERVER_KINDS = ['piw web', 'nginx', 'Apache'] as const;
export type WebServerKind = (typeof WEB_SERVER_KINDS)[number];

/** A request in the server's access log. */
export interface AccessLogEntry {
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly agent: string;
}

/** A web server that serves an output path. */
export interface RunningWebServer {
  readonly kind: WebServerKind;
  /** The version that the server prints; empty for our own. */
  readonly version: string;
  readonly url: string;
  /** The URL of its virtual host for http; our own server has none. */
  readonly httpUrl: string | undefined;
  /** The path of the CA certificate for `url`; undefined if that is http. */
  readonly ca: string | undefined;
  /** Returns all requests so far, in order. */
  accessLog(): Promise<readonly AccessLogEntry[]>;
  /** Passes the log to piw logger as the site file says, unless the server does so itself. */
  passLogToLogger(): Promise<void>;
  stop(): Promise<void>;
}

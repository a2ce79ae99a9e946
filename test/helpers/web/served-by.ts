export const WEB_SERVER_KINDS = ['piw web', 'nginx', 'Apache'] as const;
export type WebServerKind = (typeof WEB_SERVER_KINDS)[number];

/** A request as the server has logged it. */
export interface AccessLogEntry {
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly agent: string;
}

/** A web server that serves an output path. */
export interface RunningWebServer {
  readonly kind: WebServerKind;
  /** What it says of itself. */
  readonly version: string;
  readonly url: string;
  /** Where its virtual host for http is; our own has none. */
  readonly httpUrl: string | undefined;
  /** The certificate of the authority that vouches for it; undefined where it speaks http. */
  readonly ca: string | undefined;
  /** All requests so far, in their order. */
  accessLog(): Promise<readonly AccessLogEntry[]>;
  /** Has what it has logged passed on to piw logger as its site file says, where it doesn't do so by itself. */
  passLogToLogger(): Promise<void>;
  stop(): Promise<void>;
}

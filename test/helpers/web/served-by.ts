export const KINDS = ['piw web', 'nginx', 'Apache'] as const;
export type Kind = (typeof KINDS)[number];

/** A request as the server has logged it. */
export interface Logged {
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly agent: string;
}

/** A web server that serves an output path. */
export interface ServedBy {
  readonly kind: Kind;
  /** What it says of itself. */
  readonly version: string;
  readonly url: string;
  /** Where its virtual host for http is; our own has none. */
  readonly plainUrl: string | undefined;
  /** The certificate of the authority that vouches for it; undefined where it speaks http. */
  readonly ca: string | undefined;
  /** All requests so far, in their order. */
  log(): Promise<readonly Logged[]>;
  /** Has what it has logged passed on to piw logger as its site file says, where it doesn't do so by itself. */
  count(): Promise<void>;
  stop(): Promise<void>;
}

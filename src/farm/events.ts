/** An event in the life of a farm, for a terminal, a pipe or a program. */
export type FarmEvent =
  | { readonly event: 'setup'; readonly text: string }
  | {
      readonly event: 'ready';
      readonly url: string;
      readonly index: string;
      readonly samples: boolean;
      readonly slaves: number;
    }
  | { readonly event: 'idle'; readonly slave: number }
  | {
      readonly event: 'building';
      readonly slave: number;
      readonly package: string;
      readonly version: string;
      readonly line: string;
    }
  | {
      readonly event: 'sending';
      readonly slave: number;
      readonly filename: string;
      readonly sent: number;
      readonly size: number;
    }
  | {
      readonly event: 'built';
      readonly package: string;
      readonly version: string;
      readonly abi: string;
      readonly status: boolean;
      readonly failure_class: string | null;
      /** The reason for the failure, in one sentence. */
      readonly why: string | null;
      readonly duration_s: number;
      /** Seconds until the build is retried, if the failure may be temporary. */
      readonly retry_after_s: number | null;
    }
  | {
      readonly event: 'published';
      readonly package: string;
      readonly version: string;
      readonly filenames: readonly string[];
    }
  | {
      readonly event: 'not-built';
      readonly package: string;
      readonly version: string | null;
      readonly why: string;
    }
  | { readonly event: 'trouble'; readonly text: string };

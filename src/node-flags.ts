/** The maximum size of a semi-space of V8's young generation, MB, unless an actor's spec sets another. */
const DEFAULT_SEMI_SPACE_MB = 2;

/**
 * Returns Node's flags for long-running processes. V8's own default lets the young generation grow to 48 MB (three
 * semi-spaces of 16 MB) in each process, so that it collects garbage less often. Measured: with semi-spaces of 2 MB,
 * most actors are as fast, and the File Juggler and a slave stay below 100 MB of memory while they transfer a file of
 * 500 MB, instead of using 110 to 130 MB. A Scribe, whose pages are megabytes of small strings, writes a third more
 * pages with 16 MB.
 */
export const nodeFlags = (semiSpaceMb = DEFAULT_SEMI_SPACE_MB): readonly string[] => [
  `--max-semi-space-size=${semiSpaceMb}`,
];

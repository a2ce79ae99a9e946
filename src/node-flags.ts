/** The default size of a semi-space of V8's young generation, MB. */
const DEFAULT_SEMI_SPACE_MB = 2;

/**
 * Returns Node's flags for long-running processes. By default V8 lets the young generation grow to 48 MB (three
 * semi-spaces of 16) in each process, to collect less often. Measured: most actors are as fast with semi-spaces of 2
 * MB, and the File Juggler and a slave stay under 100 MB while they transfer a file of 500 MB, rather than at 110 to
 * 130. A Scribe, whose pages are megabytes of small strings, writes a third more of them with 16 MB.
 */
export const nodeFlags = (semiSpaceMb = DEFAULT_SEMI_SPACE_MB): readonly string[] => [
  `--max-semi-space-size=${String(semiSpaceMb)}`,
];

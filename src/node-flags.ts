/** Room for what is new, of a process that doesn't say otherwise, MB. */
const DEFAULT_SEMI_SPACE_MB = 2;

/**
 * How Node runs what works for long: with so much room for what is new. By itself, V8 gives it up to 48 MB (three times
 * this number) in each process, for less collecting. Measured, most actors do as much with 2, and File Juggler and slave
 * stay under 100 MB while a file of 500 MB passes, in the place of 110 to 130. A Scribe, whose pages are megabytes of small
 * pieces, writes a third more of them with 16.
 */
export const nodeFlags = (semiSpaceMb = DEFAULT_SEMI_SPACE_MB): readonly string[] => [
  `--max-semi-space-size=${String(semiSpaceMb)}`,
];

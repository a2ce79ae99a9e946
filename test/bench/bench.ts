/** Numbers by name; the name's ending is the unit. */
export type BenchFigures = Readonly<Record<string, number>>;

export interface Benchmark {
  readonly name: string;
  readonly summary: string;
  /** Every option with its default. */
  readonly options: Readonly<Record<string, number>>;
  /** Calls `say` with what goes on; the result is printed by the caller. */
  readonly run: (
    options: Readonly<Record<string, number>>,
    say: (line: string) => void,
  ) => Promise<{ readonly figures: BenchFigures; readonly limits: BenchFigures }>;
}

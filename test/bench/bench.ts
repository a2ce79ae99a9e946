/** Figures by name; the suffix of a name is its unit. */
export type BenchFigures = Readonly<Record<string, number>>;

export interface Benchmark {
  readonly name: string;
  readonly summary: string;
  /** All options with their defaults. */
  readonly options: Readonly<Record<string, number>>;
  /** Runs the benchmark, and reports its progress to `say`. The caller prints the result. */
  readonly run: (
    options: Readonly<Record<string, number>>,
    say: (line: string) => void,
  ) => Promise<{ readonly figures: BenchFigures; readonly limits: BenchFigures }>;
}

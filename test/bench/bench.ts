/** Numbers by name; the name's ending is the unit. */
export type Figures = Readonly<Record<string, number>>;

export interface Bench {
  readonly name: string;
  readonly summary: string;
  /** Every option with its default. */
  readonly options: Readonly<Record<string, number>>;
  /** Calls `say` with what goes on; the result is printed by the caller. */
  readonly run: (
    options: Readonly<Record<string, number>>,
    say: (line: string) => void,
  ) => Promise<{ readonly figures: Figures; readonly limits: Figures }>;
}

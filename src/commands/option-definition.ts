/** What piw itself reads of the definition of an option; oclif reads the same object. */
export interface OptionDefinition {
  readonly type: 'boolean' | 'option';
  readonly char?: string | undefined;
  readonly aliases?: readonly string[] | undefined;
  readonly description?: string | undefined;
  readonly helpValue?: string | readonly string[] | undefined;
  readonly helpGroup?: string | undefined;
  readonly options?: readonly string[] | undefined;
  readonly multiple?: boolean | undefined;
  readonly allowNo?: boolean | undefined;
  readonly exclusive?: readonly string[] | undefined;
  readonly required?: boolean | undefined;
  readonly hidden?: boolean | undefined;
  readonly default?: unknown;
  readonly parse?: unknown;
  readonly min?: number;
  readonly max?: number;
}

/** Returns the word that stands for the value of an option: `FILE`, or its choices. */
export const valueName = ({ helpValue, options }: OptionDefinition): string =>
  [helpValue ?? options?.join('|') ?? 'VALUE'].flat().join(' ');

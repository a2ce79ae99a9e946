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

/** Returns the definition of an argument for which a shell suggests some words, although others are accepted, too. */
export const suggesting = <Arg extends object>(
  arg: Arg,
  suggestions: readonly string[],
): Arg & { readonly suggestions: readonly string[] } => ({ ...arg, suggestions });

/** Returns the words that a shell suggests for an argument: its choices, if it has any. */
export const suggestionsOf = (arg: {
  readonly options?: readonly string[] | undefined;
  readonly suggestions?: readonly string[];
}): readonly string[] => arg.suggestions ?? arg.options ?? [];

/** An option, as a shell completes it. */
export interface CompletedOption {
  readonly name: string;
  readonly char: string | undefined;
  readonly meaning: string;
  /** What its value is; undefined if it has none. */
  readonly value:
    { readonly name: string; readonly choices: readonly string[]; readonly isPath: boolean } | undefined;
}

export interface CompletedCommand {
  /** As the user types it: `abi add`. */
  readonly name: string;
  readonly summary: string;
  readonly options: readonly CompletedOption[];
}

/** The commands whose names begin with the same word, by that word. */
type Topics = ReadonlyMap<string, readonly CompletedCommand[]>;

export const SHELLS = ['bash', 'fish', 'zsh'] as const;

/** Returns the script that makes a shell complete the command lines of `piw`. */
export function completionScript(
  shell: (typeof SHELLS)[number],
  commands: readonly CompletedCommand[],
): string {
  const scripts = { bash: bashScript, fish: fishScript, zsh: zshScript };
  return `${scripts[shell](commands, topicsOf(commands)).join('\n')}\n`;
}

function topicsOf(commands: readonly CompletedCommand[]): Topics {
  const topics = new Map<string, CompletedCommand[]>();
  for (const command of commands) {
    const [topic = '', name] = command.name.split(' ');
    if (name !== undefined) topics.set(topic, [...(topics.get(topic) ?? []), { ...command, name }]);
  }
  return topics;
}

const firstWords = (commands: readonly CompletedCommand[]): readonly string[] => [
  ...new Set(commands.map(({ name }) => name.split(' ')[0] ?? '')),
];

const namesOf = (commands: readonly CompletedCommand[]): string => commands.map(({ name }) => name).join(' ');

/** Returns a text as one word of a shell. */
const quote = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

const spellings = ({ name, char }: CompletedOption): readonly string[] => [
  ...(char === undefined ? [] : [`-${char}`]),
  `--${name}`,
];

function bashScript(commands: readonly CompletedCommand[], topics: Topics): readonly string[] {
  const reply = (words: string) => `COMPREPLY=($(compgen -W ${quote(words)} -- "$current"))`;
  const valuesOf = ({ name, options }: CompletedCommand) =>
    options.flatMap((option) => {
      const { value } = option;
      if (value === undefined) return [];
      const patterns = spellings(option).map((spelling) => quote(`${name} ${spelling}`));
      const action =
        value.choices.length > 0 ? reply(value.choices.join(' ')) : value.isPath ? FILES : 'COMPREPLY=()';
      return [`    ${patterns.join('|')}) ${action}; return ;;`];
    });
  return [
    '# Completion of piw for bash, written by: piw completion bash',
    '_piw() {',
    '  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}',
    '  # bash makes a word of = and continues after it.',
    '  [[ $current == = ]] && current=',
    '  [[ $previous == = ]] && previous=${COMP_WORDS[COMP_CWORD - 2]}',
    `  if ((COMP_CWORD == 1)); then ${reply(firstWords(commands).join(' '))}; return; fi`,
    '  case $command in',
    ...[...topics].flatMap(([topic, members]) => [
      `    ${topic}) if ((COMP_CWORD == 2)); then ${reply(namesOf(members))}; return; fi`,
      '      command="$command ${COMP_WORDS[2]}" ;;',
    ]),
    '  esac',
    '  case "$command $previous" in',
    ...commands.flatMap(valuesOf),
    '  esac',
    `  if [[ $current != -* ]]; then ${FILES}; return; fi`,
    '  case $command in',
    ...commands.map(
      ({ name, options }) => `    ${quote(name)}) ${reply(options.flatMap(spellings).join(' '))} ;;`,
    ),
    '  esac',
    '}',
    'complete -o filenames -F _piw piw',
  ];
}

const FILES = 'COMPREPLY=($(compgen -f -- "$current"))';

function fishScript(commands: readonly CompletedCommand[], topics: Topics): readonly string[] {
  const topicNames = [...topics.keys()].join(' ');
  const conditionOf = (name: string): string => {
    const [first = '', second] = name.split(' ');
    const seen = `__fish_seen_subcommand_from ${first}`;
    return second === undefined
      ? `${seen}; and not __fish_seen_subcommand_from ${topicNames}`
      : `${seen}; and __fish_seen_subcommand_from ${second}`;
  };
  const line = (condition: string, ...rest: readonly string[]) =>
    `complete -c piw -n ${fishQuote(condition)} ${rest.join(' ')}`;
  return [
    '# Completion of piw for fish, written by: piw completion fish',
    ...commands
      .filter(({ name }) => !name.includes(' '))
      .map(({ name, summary }) => line('__fish_use_subcommand', `-f -a ${name} -d ${fishQuote(summary)}`)),
    ...[...topics].flatMap(([topic, members]) => [
      line('__fish_use_subcommand', `-f -a ${topic}`),
      ...members.map(({ name, summary }) =>
        line(
          `__fish_seen_subcommand_from ${topic}; and not __fish_seen_subcommand_from ${namesOf(members)}`,
          `-f -a ${name} -d ${fishQuote(summary)}`,
        ),
      ),
    ]),
    ...commands.flatMap(({ name, options }) =>
      options.map((option) => {
        const { value, char } = option;
        const argument =
          value === undefined
            ? []
            : value.choices.length > 0
              ? [`-x -a ${fishQuote(value.choices.join(' '))}`]
              : [value.isPath ? '-r -F' : '-x'];
        return line(
          conditionOf(name),
          `-l ${option.name}`,
          ...(char === undefined ? [] : [`-s ${char}`]),
          ...argument,
          `-d ${fishQuote(option.meaning)}`,
        );
      }),
    ),
  ];
}

const fishQuote = (text: string): string => `'${text.replace(/['\\]/g, '\\$&')}'`;

function zshScript(commands: readonly CompletedCommand[], topics: Topics): readonly string[] {
  const described = (members: readonly CompletedCommand[]) =>
    members.map(({ name, summary }) => quote(`${name}:${summary}`)).join(' ');
  const topicRows = [...topics.keys()].map((name) => ({ name, summary: '', options: [] }));
  const single = commands.filter(({ name }) => !name.includes(' '));
  const specOf = (option: CompletedOption): string => {
    const { name, char, meaning, value } = option;
    const text = `[${meaning.replace(/[[\]\\]/g, '\\$&')}]`;
    const action =
      value === undefined
        ? ''
        : value.choices.length > 0
          ? `(${value.choices.join(' ')})`
          : value.isPath
            ? '_files'
            : ' ';
    const argument = value === undefined ? '' : `:${value.name}:${action}`;
    const long = `--${name}${value === undefined ? '' : '='}`;
    return char === undefined
      ? quote(`${long}${text}${argument}`)
      : `{-${char},${long}}${quote(`${text}${argument}`)}`;
  };
  return [
    '#compdef piw',
    '# Completion of piw for zsh, written by: piw completion zsh',
    '_piw() {',
    '  local -a members',
    '  if (( CURRENT == 2 )); then',
    `    members=(${described([...single, ...topicRows])})`,
    '    _describe command members',
    '    return',
    '  fi',
    '  local command=$words[2]',
    '  case $command in',
    ...[...topics].flatMap(([topic, members]) => [
      `    ${topic})`,
      `      if (( CURRENT == 3 )); then members=(${described(members)}); _describe command members; return; fi`,
      '      command="$command $words[3]" ;;',
    ]),
    '  esac',
    '  case $command in',
    ...commands.map(
      ({ name, options }) =>
        `    ${quote(name)}) _arguments ${options.map(specOf).join(' ')} '*:file:_files' ;;`,
    ),
    '  esac',
    '}',
    'if [[ $funcstack[1] == _piw ]]; then _piw "$@"; else compdef _piw piw; fi',
  ];
}

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
  /** The choices of each argument, in order; an argument without choices is completed as a file. */
  readonly args: readonly (readonly string[])[];
}

/** The commands whose names begin with the same word, by that word. */
type Topics = ReadonlyMap<string, readonly CompletedCommand[]>;

export const SHELLS = ['bash', 'fish', 'zsh'] as const;

/** Returns the script that makes a shell complete the command lines of `piw`, and of `programs`: `piw-add` is `piw add`. */
export function completionScript(
  shell: (typeof SHELLS)[number],
  commands: readonly CompletedCommand[],
  programs: readonly string[],
): string {
  const scripts = { bash: bashScript, fish: fishScript, zsh: zshScript };
  return `${scripts[shell](commands, topicsOf(commands), programs).join('\n')}\n`;
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

function bashScript(
  commands: readonly CompletedCommand[],
  topics: Topics,
  programs: readonly string[],
): readonly string[] {
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
  const argumentsOf = ({ name, options, args }: CompletedCommand) => {
    if (args.every((choices) => choices.length === 0)) return [];
    const patterns = options
      .filter(({ value }) => value !== undefined)
      .flatMap((option) => spellings(option));
    return [
      `    ${quote(name)})`,
      `      for ((i = ${name.split(' ').length + 1}; i < cword; i++)); do`,
      '        [[ ${words[i]} == [-=]* || ${words[i - 1]} == = ]] && continue',
      `        case \${words[i - 1]} in ${patterns.join('|')}) continue ;; esac`,
      '        ((position += 1))',
      '      done',
      '      case $position in',
      ...args.flatMap((choices, i) =>
        choices.length === 0 ? [] : [`        ${i}) ${reply(choices.join(' '))}; return ;;`],
      ),
      '      esac ;;',
    ];
  };
  return [
    '# Completion of piw for bash, written by: piw completion bash',
    '_piw() {',
    '  local words=("${COMP_WORDS[@]}") cword=$COMP_CWORD i position=0',
    '  # piw-add is piw add.',
    '  if [[ ${words[0]##*/} == piw-* ]]; then words=(piw "${words[0]##*piw-}" "${words[@]:1}"); ((cword += 1)); fi',
    '  local current=${words[cword]} previous=${words[cword - 1]} command=${words[1]}',
    '  # bash makes a word of = and continues after it.',
    '  [[ $current == = ]] && current=',
    '  [[ $previous == = ]] && previous=${words[cword - 2]}',
    `  if ((cword == 1)); then ${reply(firstWords(commands).join(' '))}; return; fi`,
    '  case $command in',
    ...[...topics].flatMap(([topic, members]) => [
      `    ${topic}) if ((cword == 2)); then ${reply(namesOf(members))}; return; fi`,
      '      command="$command ${words[2]}" ;;',
    ]),
    '  esac',
    '  case "$command $previous" in',
    ...commands.flatMap(valuesOf),
    '  esac',
    '  if [[ $current != -* ]]; then',
    '  case $command in',
    ...commands.flatMap(argumentsOf),
    '  esac',
    `  ${FILES}; return; fi`,
    '  case $command in',
    ...commands.map(
      ({ name, options }) => `    ${quote(name)}) ${reply(options.flatMap(spellings).join(' '))} ;;`,
    ),
    '  esac',
    '}',
    `complete -o filenames -F _piw piw ${programs.join(' ')}`,
  ];
}

const FILES = 'COMPREPLY=($(compgen -f -- "$current"))';

function fishScript(
  commands: readonly CompletedCommand[],
  topics: Topics,
  programs: readonly string[],
): readonly string[] {
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
    ...programs.map((program) => `complete -c ${program} -w ${fishQuote(program.replace('-', ' '))}`),
    ...commands.flatMap(({ name, args }) =>
      args
        .filter((choices) => choices.length > 0)
        .map((choices) => line(conditionOf(name), `-f -a ${fishQuote(choices.join(' '))}`)),
    ),
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

function zshScript(
  commands: readonly CompletedCommand[],
  topics: Topics,
  programs: readonly string[],
): readonly string[] {
  const described = (members: readonly CompletedCommand[]) =>
    members.map(({ name, summary }) => quote(`${name}:${summary}`)).join(' ');
  const topicRows = [...topics.keys()].map((name) => ({ name, summary: '', options: [], args: [] }));
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
  // The words of the command are arguments, too.
  const argSpecsOf = (name: string, args: CompletedCommand['args']) =>
    args.flatMap((choices, i) =>
      choices.length === 0
        ? []
        : [quote(`${name.split(' ').length + i + 1}:argument:(${choices.join(' ')})`)],
    );
  return [
    `#compdef piw ${programs.join(' ')}`,
    '# Completion of piw for zsh, written by: piw completion zsh',
    '_piw() {',
    '  local -a members',
    '  # piw-add is piw add.',
    '  if [[ $service == piw-* ]]; then words=(piw ${service#piw-} ${words[2,-1]}); (( CURRENT++ )); fi',
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
      ({ name, options, args }) =>
        `    ${quote(name)}) _arguments ${[...options.map(specOf), ...argSpecsOf(name, args)].join(' ')} '*:file:_files' ;;`,
    ),
    '  esac',
    '}',
    'if [[ $funcstack[1] == _piw ]]; then _piw "$@"; else compdef _piw piw ' + `${programs.join(' ')}; fi`,
  ];
}

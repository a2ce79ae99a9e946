import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** A shell block of a chapter. */
export interface ShellBlock {
  /** The path of the chapter, relative to the root of the repository. */
  readonly page: string;
  /** The number of its first line in the chapter, counted from 1. */
  readonly line: number;
  /** The headings above it, from the chapter's title down. */
  readonly headings: readonly string[];
  /** Why it isn't run, as a comment in front of it says (`<!-- not run: … -->`); null if it is. */
  readonly notRun: string | null;
  /** The comment in front of it, if that is another one; null otherwise. */
  readonly comment: string | null;
  readonly script: string;
}

/** Returns the blocks of a chapter whose language is sh, in their order. */
export function shellBlocks(page: string): readonly ShellBlock[] {
  const blocks: ShellBlock[] = [];
  let headings: string[] = [];
  let comment: string | null = null;
  const lines = readFileSync(`${ROOT}${page}`, 'utf8').split('\n');
  for (let i = 0; i < lines.length; i += 1) {
    const line = lines[i] ?? '';
    const [, marks, title] = /^(#+) (.*)$/.exec(line) ?? [];
    const [, indent, language] = /^( *)```(\S*)$/.exec(line) ?? [];
    const [, remark] = /^ *<!-- (.*) -->$/.exec(line) ?? [];
    if (marks !== undefined && title !== undefined)
      headings = [...headings.slice(0, marks.length - 1), title];
    else if (remark !== undefined) comment = remark;
    else if (indent !== undefined) {
      const start = i + 1;
      while (i + 1 < lines.length && lines[i + 1] !== `${indent}\`\`\``) i += 1;
      i += 1;
      if (language === 'sh')
        blocks.push({
          page,
          line: start + 1,
          headings,
          notRun: /^not run: (.*)$/.exec(comment ?? '')?.[1] ?? null,
          comment,
          script: lines
            .slice(start, i)
            .map((text) => text.slice(indent.length))
            .join('\n'),
        });
      comment = null;
    } else if (line.trim() !== '') comment = null;
  }
  return blocks;
}

/** Returns a script without placeholders in angle brackets, which bash would take for redirections. */
export const withoutPlaceholders = (script: string): string => script.replace(/<[a-z ]+>/g, 'PLACEHOLDER');

/** Returns the words of each command line of a script; quotes group, and expansions stay as they are written. */
export function commandLines(script: string): readonly (readonly string[])[] {
  const tokens = script
    .replaceAll('\\\n', ' ')
    .matchAll(/(#[^\n]*)|((?:"(?:[^"\\]|\\.)*"|'[^']*'|\$\([^)]*\)|[^\s;&|<>()"'])+)|([;&|()\n]+|<+|\d?>+)/g);
  const lines: string[][] = [[]];
  for (const [, comment, word, operator] of tokens) {
    if (comment !== undefined) continue;
    if (word !== undefined) lines.at(-1)?.push(word.replace(/["']/g, ''));
    // What is behind a redirection is a file's name, and no argument.
    else lines.push(/[<>]/.test(operator ?? '') ? ['redirected'] : []);
  }
  return lines.filter((words) => words.length > 0);
}

/** Returns the arguments of piw in a command line, which may begin with sudo, npx or a loop; undefined for other programs. */
export function piwArguments(words: readonly string[]): readonly string[] | undefined {
  if (words[0] === 'npm' && words[1] === 'start')
    return ['farm', ...words.slice(2).filter((word) => word !== '--')];
  const prefix = /^(?:sudo|-u|postgres|piwheels|piw-slave|env|npx|until|while|if|do|[A-Z_]+=.*)$/;
  const at = words.indexOf('piw');
  return at === -1 || !words.slice(0, at).every((word) => prefix.test(word))
    ? undefined
    : words.slice(at + 1);
}

/** The sources as the TypeScript compiler sees them: what types alone do not tell at run time. */
import { join, relative } from 'node:path';
import ts from 'typescript';
import { ROOT } from '../../src/root.js';

export interface Program {
  readonly checker: ts.TypeChecker;
  /** The source files of piw, by their paths below the root of the repository. */
  readonly files: ReadonlyMap<string, ts.SourceFile>;
}

/** Reads the sources of the program. The checker works out only the types that it is asked for. */
export function readProgram(): Program {
  const { config } = ts.readConfigFile(join(ROOT, 'tsconfig.json'), (path) => ts.sys.readFile(path)) as {
    config: { compilerOptions: object };
  };
  const { options, fileNames } = ts.parseJsonConfigFileContent(
    { ...config, include: ['src/**/*.ts', 'actors/**/*.ts'] },
    ts.sys,
    ROOT,
  );
  const program = ts.createProgram(fileNames, { ...options, noEmit: true, incremental: false });
  const own = program.getSourceFiles().filter(({ fileName }) => !fileName.includes('/node_modules/'));
  return {
    checker: program.getTypeChecker(),
    files: new Map(own.map((file) => [relative(ROOT, file.fileName), file])),
  };
}

export const pathOf = (node: ts.Node): string => relative(ROOT, node.getSourceFile().fileName);

export function declarationOf(symbol: ts.Symbol): ts.Declaration {
  const [declaration] = symbol.declarations ?? [];
  if (!declaration) throw new Error(`${symbol.name} has no declaration`);
  return declaration;
}

/** Calls `visit` for a node and for all nodes in it. */
export function visitAll(node: ts.Node, visit: (node: ts.Node) => void): void {
  visit(node);
  node.forEachChild((child) => {
    visitAll(child, visit);
  });
}

/** Returns the comment `/** … *\/` of a declaration; undefined if it has none. */
export function commentOf(node: ts.Node): string | undefined {
  const owner = ts.isVariableDeclaration(node) ? node.parent.parent : node;
  const comments = ts.getJSDocCommentsAndTags(owner).filter((each) => ts.isJSDoc(each));
  const text = comments.at(-1)?.getText();
  if (text === undefined) return undefined;
  return text
    .replace(/^\/\*\*|\*\/$/g, '')
    .split('\n')
    .map((line) => line.replace(/^\s*\* ?/, '').trimEnd())
    .join('\n')
    .trim();
}

/** Returns a comment as Markdown: its indented lines are code blocks, and its lists stay lists. */
export function markdownOf(comment: string): string {
  const blocks: { readonly isCode: boolean; readonly lines: string[] }[] = [];
  for (const line of comment.split('\n')) {
    const last = blocks.at(-1);
    const isCode = line.startsWith('  ') || (line === '' && last?.isCode === true);
    if (last?.isCode === isCode) last.lines.push(line);
    else blocks.push({ isCode, lines: [line] });
  }
  return blocks
    .map(({ isCode, lines }) => {
      const text = lines.join('\n').replace(/^\n+|\n+$/g, '');
      return isCode ? `\`\`\`\n${outdent(text)}\n\`\`\`` : text;
    })
    .filter((text) => text !== '')
    .join('\n\n');
}

function outdent(text: string): string {
  const indents = text.split('\n').flatMap((line) => (line === '' ? [] : [line.search(/\S/)]));
  const indent = Math.min(...indents);
  return text
    .split('\n')
    .map((line) => line.slice(indent))
    .join('\n');
}

/** The types of messages' fields, as text. A type with a name is a link to its definition on docs/protocols/types.md. */
import ts from 'typescript';
import { anchorOf, code } from './markdown.js';
import { type Program, commentOf, declarationOf, pathOf } from './program.js';

/** Types that say nothing about what a value means. */
const GENERAL_TYPES = [
  'Text',
  'ShortText',
  'Line',
  'Sentence',
  'Count',
  'Id',
  'Seconds',
  'Time',
  'Flag',
  'Tag',
  'SubjectToken',
];

interface NamedType {
  readonly name: string;
  readonly comment: string;
  readonly file: string;
  /** What it admits, as Markdown. */
  readonly definition: string;
  readonly fields: readonly FieldText[];
}

export interface FieldText {
  readonly name: string;
  readonly type: string;
  readonly meaning: string;
}

export class TypeNames {
  readonly #checker: ts.TypeChecker;
  readonly #meanings: Readonly<Record<string, string>>;
  readonly #named = new Map<string, ts.VariableDeclaration>();

  /** `meanings`: those of fields that mean the same in every message. */
  constructor({ checker }: Program, meanings: Readonly<Record<string, string>>) {
    this.#checker = checker;
    this.#meanings = meanings;
  }

  /** Returns the types that were named so far, and those that their definitions name. */
  list(): readonly NamedType[] {
    const types = new Map<string, NamedType>();
    // Definitions name further types, which come to the end.
    for (const [name, declaration] of this.#named) types.set(name, this.#define(name, declaration));
    return [...types.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  field(symbol: ts.Symbol): FieldText {
    const declaration = declarationOf(symbol);
    const type = this.#valueOf(declaration);
    return {
      name: symbol.name,
      type: this.text(type),
      meaning: this.#meaningOf(symbol.name, commentOf(declaration), type),
    };
  }

  #meaningOf(name: string, comment: string | undefined, type: ts.Expression): string {
    if (comment !== undefined) return comment;
    const common = this.#meanings[name];
    if (common !== undefined) return common;
    const named = this.#namedIn(type);
    const isGeneral = named === undefined || GENERAL_TYPES.includes(named.name.getText());
    return isGeneral ? '' : (commentOf(named) ?? '');
  }

  /** Returns the named type of a value, or of the items of a list. */
  #namedIn(expression: ts.Expression): ts.VariableDeclaration | undefined {
    if (ts.isCallExpression(expression) && expression.arguments[0])
      return this.#namedIn(expression.arguments[0]);
    return ts.isIdentifier(expression) ? this.#declarationOf(expression) : undefined;
  }

  #valueOf(declaration: ts.Declaration): ts.Expression {
    if (ts.isPropertyAssignment(declaration)) return declaration.initializer;
    if (ts.isShorthandPropertyAssignment(declaration)) return declaration.name;
    throw new Error(`${declaration.getText()} is not a field`);
  }

  /** Returns the symbol that an import or an abbreviation stands for. */
  original(symbol: ts.Symbol): ts.Symbol {
    return symbol.flags & ts.SymbolFlags.Alias ? this.#checker.getAliasedSymbol(symbol) : symbol;
  }

  /** Returns the declaration of a name; that of `Package` for `const Name = Package`. */
  #declarationOf(name: ts.Identifier): ts.VariableDeclaration {
    const symbol = ts.isShorthandPropertyAssignment(name.parent)
      ? this.#checker.getShorthandAssignmentValueSymbol(name.parent)
      : this.#checker.getSymbolAtLocation(name);
    const declaration = symbol && this.original(symbol).valueDeclaration;
    if (!declaration || !ts.isVariableDeclaration(declaration)) throw new Error(`${name.text} is not a type`);
    return declaration.initializer && ts.isIdentifier(declaration.initializer)
      ? this.#declarationOf(declaration.initializer)
      : declaration;
  }

  text(expression: ts.Expression): string {
    if (ts.isIdentifier(expression)) return this.#link(this.#declarationOf(expression));
    if (!ts.isCallExpression(expression)) throw new Error(`${expression.getText()} is not a type`);
    const [first, second] = expression.arguments;
    const kind = expression.expression.getText().replace(/^Type\./, '');
    if (kind === 'orNull' && first) return `${this.text(first)} or null`;
    if (kind === 'listOf' && first)
      return `list of ${this.text(first)}${second ? `, at most ${this.#number(second)}` : ''}`;
    if (kind === 'Tuple' && first && ts.isArrayLiteralExpression(first))
      return `\\[${first.elements.map((item) => this.text(item)).join(', ')}\\]`;
    if (kind === 'Record' && first && second) return `map from ${this.text(first)} to ${this.text(second)}`;
    if (kind === 'Intersect' && first && ts.isArrayLiteralExpression(first))
      return first.elements.map((item) => this.text(item)).join(' and ');
    if (kind === 'Union' && first) return this.#literals(first);
    const plain: Readonly<Record<string, string>> = { Boolean: 'true or false', Object: 'map' };
    if (plain[kind] !== undefined) return plain[kind];
    const { limits, pattern } = this.#limits(first);
    if (kind === 'String')
      return `string${range(limits, 'minLength', 'maxLength', 'character')}${pattern === undefined ? '' : ` that matches ${code(pattern)}`}`;
    if (kind === 'Bytes') return `bytes${range(limits, 'minLength', 'maxLength', 'byte')}`;
    if (kind === 'Integer' || kind === 'Number')
      return `${kind.toLowerCase()}${range(limits, 'minimum', 'maximum')}`;
    throw new Error(`${expression.getText()} is not a type`);
  }

  #link(declaration: ts.VariableDeclaration): string {
    const name = declaration.name.getText();
    const other = this.#named.get(name);
    if (other && other !== declaration)
      throw new Error(`${pathOf(other)} and ${pathOf(declaration)} have different types ${name}`);
    this.#named.set(name, declaration);
    return `[${name}](types.md#${anchorOf(name)})`;
  }

  /** Returns the choices of `NAMES.map((name) => Type.Literal(name))`. */
  #literals(choices: ts.Expression): string {
    const names = ts.isCallExpression(choices)
      ? (choices.expression as ts.PropertyAccessExpression).expression
      : choices;
    const { initializer } = this.#declarationOf(names as ts.Identifier);
    const list = initializer && ts.isAsExpression(initializer) ? initializer.expression : initializer;
    if (!list || !ts.isArrayLiteralExpression(list))
      throw new Error(`${choices.getText()} is not a list of choices`);
    return list.elements.map((each) => code((each as ts.StringLiteral).text)).join(' or ');
  }

  #limits(options: ts.Expression | undefined): { limits: ReadonlyMap<string, string>; pattern?: string } {
    const limits = new Map<string, string>();
    let pattern: string | undefined;
    for (const each of options && ts.isObjectLiteralExpression(options) ? options.properties : []) {
      if (!ts.isPropertyAssignment(each)) continue;
      if (ts.isStringLiteral(each.initializer)) pattern = each.initializer.text;
      else limits.set(each.name.getText(), this.#number(each.initializer));
    }
    return { limits, ...(pattern === undefined ? {} : { pattern }) };
  }

  #number(expression: ts.Expression): string {
    const value = this.#evaluate(expression);
    return value === Number.MAX_SAFE_INTEGER ? '2^53 - 1' : value.toLocaleString('en-US');
  }

  #evaluate(expression: ts.Expression): number {
    if (ts.isNumericLiteral(expression)) return Number(expression.text);
    if (expression.getText() === 'Number.MAX_SAFE_INTEGER') return Number.MAX_SAFE_INTEGER;
    if (ts.isIdentifier(expression)) {
      const { initializer } = this.#declarationOf(expression);
      if (initializer) return this.#evaluate(initializer);
    }
    if (ts.isBinaryExpression(expression) && expression.operatorToken.kind === ts.SyntaxKind.AsteriskToken)
      return this.#evaluate(expression.left) * this.#evaluate(expression.right);
    throw new Error(`${expression.getText()} is not a number`);
  }

  #define(name: string, declaration: ts.VariableDeclaration): NamedType {
    const { initializer } = declaration;
    if (!initializer) throw new Error(`${name} has no definition`);
    const items = this.#itemsOf(initializer);
    return {
      name,
      comment: commentOf(declaration) ?? '',
      file: pathOf(declaration),
      definition: items.length > 0 ? 'a list of these items' : this.text(initializer),
      fields: [...this.#fieldsOf(initializer), ...items],
    };
  }

  /** Returns the fields of a map. */
  #fieldsOf(expression: ts.Expression): readonly FieldText[] {
    if (!ts.isCallExpression(expression)) return [];
    const [first] = expression.arguments;
    if (first && ts.isArrayLiteralExpression(first) && expression.expression.getText() === 'Type.Intersect')
      return first.elements.flatMap((part) => this.#fieldsOf(part));
    if (!first || expression.expression.getText() !== 'Type.Object') return [];
    const fields = this.#checker.getPropertiesOfType(this.#checker.getTypeAtLocation(first));
    return [...fields]
      .sort((a, b) => declarationOf(a).pos - declarationOf(b).pos)
      .map((field) => this.field(field));
  }

  /** Returns the items of a list of a fixed length, if comments after them say what they are. */
  #itemsOf(expression: ts.Expression): readonly FieldText[] {
    if (!ts.isCallExpression(expression) || expression.expression.getText() !== 'Type.Tuple') return [];
    const [list] = expression.arguments;
    if (!list || !ts.isArrayLiteralExpression(list)) return [];
    const source = list.getSourceFile().text;
    const items = list.elements.map((item): FieldText => {
      const [, comment = ''] =
        /^,?[ \t]*\/\/ (.*)$/m.exec(source.slice(item.end).split('\n', 1)[0] ?? '') ?? [];
      const [name = '', ...meaning] = comment.split(', ');
      const ownMeaning = meaning.length === 0 ? undefined : meaning.join(', ');
      return { name, type: this.text(item), meaning: this.#meaningOf(name, ownMeaning, item) };
    });
    return items.every(({ name }) => name !== '') ? items : [];
  }
}

function range(limits: ReadonlyMap<string, string>, low: string, high: string, unit?: string): string {
  const [from, to] = [limits.get(low), limits.get(high)];
  const units = unit === undefined ? '' : ` ${unit}${(to ?? from) === '1' ? '' : 's'}`;
  if (from !== undefined && from === to) return ` of ${from}${units}`;
  if (from !== undefined && to !== undefined) return ` of ${from} to ${to}${units}`;
  if (to !== undefined) return ` of at most ${to}${units}`;
  return from === undefined ? '' : ` of at least ${from}${units}`;
}

/** What commands print with --json, read from the types of what they return. */
import ts from 'typescript';
import { type Program, commentOf, visitAll } from './program.js';

/** Types nested deeper than this are not written out. */
const MAX_DEPTH = 8;
/** A text with more possible values is a string, and an object with more keys that may be missing a map. */
const MAX_CHOICES = 12;

/**
 * Returns the shapes of what the command in this file prints with --json; undefined if it returns nothing. Throws if the
 * type of a part of it is unknown.
 */
export function jsonShape({ checker, files }: Program, file: string): string | undefined {
  const source = files.get(file);
  if (!source) throw new Error(`${file} does not exist`);
  const results: ts.Type[] = [];
  visitAll(source, (node) => {
    if (ts.isReturnStatement(node) && node.expression && isRun(enclosingFunction(node)))
      results.push(checker.getTypeAtLocation(node.expression));
  });
  const shape = new Shape(checker);
  const types = results.map((type) => checker.getAwaitedType(type) ?? type);
  const shapes = types.flatMap((type) =>
    type.isUnion() ? type.types.map((each) => shape.format(each)).sort() : [shape.format(type)],
  );
  // The same shape may be written in another order of its keys.
  const distinct = new Map(shapes.map((text) => [text.split('\n').sort().join('\n'), text]));
  return distinct.size === 0 ? undefined : [...distinct.values()].join('\n\n');
}

function enclosingFunction(node: ts.Node): ts.Node {
  let owner = node.parent;
  while (!ts.isFunctionLike(owner)) owner = owner.parent;
  return owner;
}

const isRun = (node: ts.Node): boolean => ts.isMethodDeclaration(node) && node.name.getText() === 'run';

class Shape {
  readonly #checker: ts.TypeChecker;

  constructor(checker: ts.TypeChecker) {
    this.#checker = checker;
  }

  format(type: ts.Type, depth = 0): string {
    const checker = this.#checker;
    if (type.flags & (ts.TypeFlags.Any | ts.TypeFlags.Unknown)) throw new Error('a result has no type');
    if (type.isUnion()) return this.#union(type, depth);
    if (checker.isTupleType(type))
      return `[${checker
        .getTypeArguments(type as ts.TypeReference)
        .map((item) => this.format(item, depth))
        .join(', ')}]`;
    if (checker.isArrayType(type)) {
      const [item] = checker.getTypeArguments(type as ts.TypeReference);
      const text = item ? this.format(item, depth) : '';
      return `${(text.split('\n', 1)[0] ?? '').includes(' | ') && !text.startsWith('{') ? `(${text})` : text}[]`;
    }
    // A string or number with a brand is printed as what it is.
    const primitive = type.isIntersection() && type.types.find((each) => !(each.flags & ts.TypeFlags.Object));
    if (primitive) return checker.typeToString(primitive);
    const isObject = (type.flags & (ts.TypeFlags.Object | ts.TypeFlags.Intersection)) !== 0;
    if (!isObject || depth > MAX_DEPTH) return checker.typeToString(type);
    return this.#object(type, depth);
  }

  #union({ types }: ts.UnionType, depth: number): string {
    const texts = types
      // JSON leaves out what is undefined.
      .filter((each) => !(each.flags & ts.TypeFlags.Undefined))
      .map((each) => this.format(each, depth));
    // The compiler has them in the order in which it met them.
    const distinct = [...new Set(texts)].sort().sort((a, b) => Number(a === 'null') - Number(b === 'null'));
    if (distinct.length > MAX_CHOICES && distinct.every((each) => each.startsWith('"'))) return 'string';
    const isBoolean = distinct.includes('true') && distinct.includes('false');
    const rest = distinct.filter((each) => !isBoolean || (each !== 'true' && each !== 'false'));
    return [...(isBoolean ? ['boolean'] : []), ...rest].join(' | ');
  }

  #object(type: ts.Type, depth: number): string {
    const margin = '  '.repeat(depth);
    const properties = this.#checker
      .getPropertiesOfType(type)
      // JSON leaves it out.
      .filter((each) => !(this.#checker.getTypeOfSymbol(each).flags & ts.TypeFlags.Undefined));
    const [first] = properties;
    if (
      first &&
      properties.length > MAX_CHOICES &&
      properties.every(({ flags }) => flags & ts.SymbolFlags.Optional)
    )
      return `{ [key]: ${this.format(this.#checker.getTypeOfSymbol(first), depth)} }`;
    const lines = properties.flatMap((property) => {
      const declaration = property.declarations?.[0];
      const comment = declaration && commentOf(declaration);
      const optional = property.flags & ts.SymbolFlags.Optional ? '?' : '';
      const value = this.format(this.#checker.getTypeOfSymbol(property), depth + 1);
      return [
        ...(comment === undefined ? [] : comment.split('\n').map((line) => `${margin}  // ${line}`)),
        `${margin}  ${property.name}${optional}: ${value}`,
      ];
    });
    const index = this.#checker
      .getIndexInfosOfType(type)
      .map(({ type: value }) => `${margin}  [key]: ${this.format(value, depth + 1)}`);
    return `{\n${[...lines, ...index].join('\n')}\n${margin}}`;
  }
}

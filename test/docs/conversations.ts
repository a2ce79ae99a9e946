/** The conversations, read from src/protocols, and who takes part in each, read from all sources. */
import { join } from 'node:path';
import ts from 'typescript';
import { Protocol, type FieldSchemas, type VerbSpec, type VerbSpecs } from '../../src/protocols/protocol.js';
import { ROOT } from '../../src/root.js';
import { type Program, commentOf, declarationOf, pathOf, visitAll } from './program.js';
import type { FieldText, TypeNames } from './type-names.js';

export interface Message {
  readonly name: string;
  readonly comment: string;
  readonly fields: readonly FieldText[];
}

export interface Verb extends Message {
  /** Its answers besides ERROR; undefined for a message that is published. */
  readonly answers: readonly Message[] | undefined;
  /** The files of those who send it, and of those who serve it or listen to it. */
  readonly senders: readonly string[];
  readonly receivers: readonly string[];
  /** Whether one process of a queue group gets it, and whether every process gets it. Both may be so. */
  readonly isToOne: boolean;
  readonly isToEach: boolean;
}

export interface Conversation {
  readonly name: string;
  readonly comment: string;
  readonly file: string;
  /** Its subject without the farm's prefix. */
  readonly subject: string;
  readonly verbs: readonly Verb[];
}

interface Participation {
  readonly senders: Map<string, Set<string>>;
  readonly receivers: Map<string, Set<string>>;
  readonly subjects: string[];
  /** The messages that one process of a queue group gets, and those that every process gets. */
  readonly toOne: Set<string>;
  readonly toEach: Set<string>;
}

export async function readConversations(
  program: Program,
  types: TypeNames,
): Promise<readonly Conversation[]> {
  const reader = new Reader(program, types);
  for (const [path, file] of program.files)
    if (!path.startsWith('src/protocols/')) reader.readParticipants(file);
  return [...(await reader.conversations())].sort((a, b) => (a.name < b.name ? -1 : 1));
}

class Reader {
  readonly #checker: ts.TypeChecker;
  readonly #types: TypeNames;
  /** The declaration of each protocol. */
  readonly #protocols = new Map<ts.VariableDeclaration, Participation>();

  constructor({ checker, files }: Program, types: TypeNames) {
    this.#checker = checker;
    this.#types = types;
    for (const [path, file] of files)
      if (path.startsWith('src/protocols/'))
        visitAll(file, (node) => {
          if (isProtocol(node))
            this.#protocols.set(node, {
              senders: new Map(),
              receivers: new Map(),
              subjects: [],
              toOne: new Set(),
              toEach: new Set(),
            });
        });
  }

  async conversations(): Promise<readonly Conversation[]> {
    return Promise.all(
      [...this.#protocols].map(async ([declaration, participation]) => {
        const type = this.#verbsType(declaration);
        // A type does not tell in which order its properties are.
        const { verbs } = await loadProtocol(declaration);
        return {
          name: nameOf(declaration),
          comment: commentOf(declaration) ?? '',
          file: pathOf(declaration),
          subject: participation.subjects[0] ?? nameOf(declaration),
          verbs: Object.entries(verbs).map(([name, spec]) =>
            this.#verb(property(type, name), spec, participation),
          ),
        };
      }),
    );
  }

  #verbsType(declaration: ts.VariableDeclaration): ts.Type {
    const type = this.#checker.getTypeAtLocation(declaration.name);
    const [verbs] = this.#checker.getTypeArguments(type as ts.TypeReference);
    if (!verbs) throw new Error(`${declaration.getText()} is not a Protocol`);
    return verbs;
  }

  #verb(symbol: ts.Symbol, { fields, answers }: VerbSpec, participation: Participation): Verb {
    const { senders, receivers, toOne, toEach } = participation;
    const type = this.#checker.getTypeOfSymbol(symbol);
    const answersType = answers && this.#checker.getTypeOfSymbol(property(type, 'answers'));
    return {
      ...this.#message(symbol, this.#checker.getTypeOfSymbol(property(type, 'fields')), fields),
      answers:
        answersType &&
        Object.entries(answers).map(([name, answerFields]) => {
          const answer = property(answersType, name);
          return this.#message(answer, this.#checker.getTypeOfSymbol(answer), answerFields);
        }),
      senders: [...(senders.get(symbol.name) ?? [])].sort(),
      receivers: [...(receivers.get(symbol.name) ?? [])].sort(),
      isToOne: toOne.has(symbol.name),
      isToEach: toEach.has(symbol.name),
    };
  }

  #message(symbol: ts.Symbol, type: ts.Type, fields: FieldSchemas): Message {
    return {
      name: symbol.name,
      comment: commentOf(declarationOf(symbol)) ?? this.#commentOfValue(symbol) ?? '',
      fields: Object.keys(fields).map((name) => this.#types.field(property(type, name))),
    };
  }

  /** Returns the comment of the constant that holds a message alone, as in `const wait = { WAIT: … }`. */
  #commentOfValue(symbol: ts.Symbol): string | undefined {
    const declaration = declarationOf(symbol);
    const shorthand = ts.isShorthandPropertyAssignment(declaration)
      ? this.#checker.getShorthandAssignmentValueSymbol(declaration)
      : undefined;
    const value = shorthand && this.#types.original(shorthand).valueDeclaration;
    if (value) return commentOf(value);
    const object = declaration.parent;
    const isAlone = ts.isObjectLiteralExpression(object) && object.properties.length === 1;
    let owner: ts.Node = object.parent;
    while (ts.isAsExpression(owner) || ts.isSatisfiesExpression(owner)) owner = owner.parent;
    return isAlone && ts.isVariableDeclaration(owner) ? commentOf(owner) : undefined;
  }

  /** Notes who sends, serves or listens to a conversation in this file. */
  readParticipants(file: ts.SourceFile): void {
    visitAll(file, (node) => {
      if (ts.isNewExpression(node) && node.expression.getText() === 'ProtocolClient') this.#client(node);
      if (!ts.isCallExpression(node) || !ts.isPropertyAccessExpression(node.expression)) return;
      const method = node.expression.name.text;
      if (method === 'request' || method === 'publish') this.#sender(node, node.expression.expression);
      if (method === 'serve') this.#server(node);
      if (method === 'subscribe') this.#listener(node);
    });
  }

  #client({ arguments: [, protocol, tokens] = ts.factory.createNodeArray() }: ts.NewExpression): void {
    const participation = this.#participation(protocol);
    const subject = participation && this.#subject(tokens);
    if (subject !== undefined) participation?.subjects.unshift(subject);
  }

  #sender(call: ts.CallExpression, client: ts.Expression): void {
    const type = this.#checker.getTypeAtLocation(client);
    if (type.symbol.name !== 'ProtocolClient') return;
    const [verbs] = this.#checker.getTypeArguments(type as ts.TypeReference);
    const declaration = [...this.#protocols.keys()].find((each) => this.#verbsType(each) === verbs);
    const [verb] = call.arguments;
    if (!declaration || !verb) return;
    const { senders } = this.#protocols.get(declaration) ?? {};
    for (const name of this.#stringsOf(verb)) add(senders, name, pathOf(call));
  }

  #server({ arguments: [protocol, handlers, options] }: ts.CallExpression): void {
    const participation = this.#participation(protocol);
    if (!participation || !handlers) return;
    const settings = new Map(
      options && ts.isObjectLiteralExpression(options)
        ? options.properties.flatMap((each) =>
            ts.isPropertyAssignment(each) ? [[each.name.getText(), each.initializer] as const] : [],
          )
        : [],
    );
    const subject = this.#subject(settings.get('tokens'));
    if (subject !== undefined) participation.subjects.push(subject);
    const verb = settings.get('verb');
    const names = verb ? this.#stringsOf(verb) : this.#handled(handlers);
    const isToEach = settings.get('queue')?.kind === ts.SyntaxKind.NullKeyword;
    for (const name of names) {
      add(participation.receivers, name, pathOf(protocol ?? handlers));
      (isToEach ? participation.toEach : participation.toOne).add(name);
    }
  }

  /** Returns the verbs for which handlers are given. */
  #handled(handlers: ts.Expression): readonly string[] {
    const literal = ts.isIdentifier(handlers)
      ? (this.#checker.getSymbolAtLocation(handlers)?.valueDeclaration as ts.VariableDeclaration).initializer
      : handlers;
    if (!literal) return [];
    return this.#checker
      .getPropertiesOfType(this.#checker.getTypeAtLocation(literal))
      .map(({ name }) => name);
  }

  #listener({ arguments: [subject] }: ts.CallExpression): void {
    if (!subject || !ts.isCallExpression(subject) || !subject.expression.getText().endsWith('.subject'))
      return;
    const [first] = subject.arguments;
    const protocol = first && ts.isPropertyAccessExpression(first) ? first.expression : undefined;
    const participation = this.#participation(protocol);
    const last = subject.arguments.at(-1);
    if (!participation || !last || !ts.isStringLiteral(last)) return;
    const [declaration] = [...this.#protocols].find(([, each]) => each === participation) ?? [];
    const names =
      last.text === '*' && declaration
        ? this.#verbsType(declaration)
            .getProperties()
            .map(({ name }) => name)
        : [last.text];
    for (const name of names) {
      add(participation.receivers, name, pathOf(subject));
      participation.toEach.add(name);
    }
  }

  #participation(expression: ts.Node | undefined): Participation | undefined {
    const symbol = expression && this.#checker.getSymbolAtLocation(expression);
    const declaration = symbol && this.#types.original(symbol).valueDeclaration;
    return declaration && ts.isVariableDeclaration(declaration)
      ? this.#protocols.get(declaration)
      : undefined;
  }

  /** Returns the values that an expression may have, if its type is of literals. */
  #stringsOf(expression: ts.Expression): readonly string[] {
    const own = this.#checker.getTypeAtLocation(expression);
    // The verb that a generic function passes on may be any.
    const type = this.#checker.getBaseConstraintOfType(own) ?? own;
    const types = type.isUnion() ? type.types : [type];
    return types.flatMap((each) => (each.isStringLiteral() ? [each.value] : []));
  }

  /** Returns the subject that the tokens make, its variable parts in capitals; undefined if they are the default. */
  #subject(tokens: ts.Expression | undefined): string | undefined {
    const list = tokens && this.#listOf(tokens);
    return list?.elements.map((element) => this.#token(element)).join('.');
  }

  #listOf(expression: ts.Expression): ts.ArrayLiteralExpression | undefined {
    if (ts.isArrayLiteralExpression(expression)) return expression;
    if (!ts.isPropertyAccessExpression(expression)) return undefined;
    // A property of the class, which its constructor sets.
    let list: ts.ArrayLiteralExpression | undefined;
    visitAll(expression.getSourceFile(), (node) => {
      if (ts.isBinaryExpression(node) && node.left.getText() === expression.getText())
        list = ts.isArrayLiteralExpression(node.right) ? node.right : list;
    });
    return list;
  }

  #token(element: ts.Expression): string {
    if (ts.isStringLiteral(element)) return element.text;
    const [, object = '', property = ''] = /^(?:(\w+)\.)?#?(\w+)$/.exec(element.getText()) ?? [];
    const participation = ts.isPropertyAccessExpression(element) && this.#participation(element.expression);
    if (participation)
      for (const [declaration, each] of this.#protocols)
        if (each === participation) return nameOf(declaration);
    return object === 'this' && property === 'id' ? 'SESSION' : property.toUpperCase();
  }
}

function nameOf({ initializer }: ts.VariableDeclaration): string {
  const [name] = (initializer as ts.NewExpression).arguments ?? [];
  if (!name || !ts.isStringLiteral(name)) throw new Error(`${initializer?.getText() ?? ''} has no name`);
  return name.text;
}

/** Returns a protocol as the program has it. */
async function loadProtocol(declaration: ts.VariableDeclaration): Promise<Protocol<VerbSpecs>> {
  const path = join(ROOT, 'dist', pathOf(declaration).replace(/\.ts$/, '.js'));
  const exported = (await import(path)) as Record<string, unknown>;
  const protocol = exported[declaration.name.getText()];
  if (!(protocol instanceof Protocol)) throw new Error(`${declaration.name.getText()} is not a Protocol`);
  return protocol as Protocol<VerbSpecs>;
}

function property(type: ts.Type, name: string): ts.Symbol {
  const symbol = type.getProperty(name);
  if (!symbol) throw new Error(`there is no ${name}`);
  return symbol;
}

function add(map: Map<string, Set<string>> | undefined, key: string, value: string): void {
  map?.set(key, new Set([...(map.get(key) ?? []), value]));
}

const isProtocol = (node: ts.Node): node is ts.VariableDeclaration =>
  ts.isVariableDeclaration(node) &&
  node.initializer !== undefined &&
  ts.isNewExpression(node.initializer) &&
  node.initializer.expression.getText() === 'Protocol';

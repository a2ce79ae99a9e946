/** Who reads a setting: the tasks to which actors/cast.ts hands it, and the commands whose code reaches it. */
import ts from 'typescript';
import { CAST } from '../../actors/cast.js';
import { commands } from '../../src/commands/index.js';
import { SETTING_DEFINITIONS, isSettingName, type SettingName } from '../../src/config.js';
import { settingsOfTask } from './actor-pages.js';
import { type Program, pathOf } from './program.js';

/** The types whose properties are settings. */
const SETTINGS_TYPES: ReadonlySet<string> = new Set(['Settings', 'ExplicitSettings']);

interface SettingReaders {
  readonly tasks: readonly string[];
  /** As the user types them: `abi add`. */
  readonly commands: readonly string[];
}

/** Returns who reads each setting. */
export function settingReaders(program: Program): ReadonlyMap<SettingName, SettingReaders> {
  const usable = usableNames(program);
  const byTask = CAST.map(({ task }) => [task, new Set<string>(settingsOfTask(program, task))] as const);
  const byCommand = Object.keys(commands).map((id) => {
    const file = program.files.get(`src/commands/${id.replaceAll(':', '/')}.ts`);
    if (!file) throw new Error(`${id} has no file in src/commands`);
    return [id.replaceAll(':', ' '), settingsReachedFrom(program, usable, file)] as const;
  });
  const readersIn = (all: readonly (readonly [string, ReadonlySet<string>])[], setting: string) =>
    all.filter(([, settings]) => settings.has(setting)).map(([name]) => name);
  const names = Object.keys(SETTING_DEFINITIONS) as SettingName[];
  return new Map(
    names.map((name) => [name, { tasks: readersIn(byTask, name), commands: readersIn(byCommand, name) }]),
  );
}

/** Returns the names of what is defined outside of functions: only for these the checker is asked what they stand for. */
function usableNames({ files }: Program): ReadonlySet<string> {
  const names = new Set<string>();
  const addDeclared = (node: ts.Node): void => {
    const { name } = node as ts.NamedDeclaration;
    if (name) names.add(name.getText());
    if (ts.isVariableStatement(node)) node.declarationList.declarations.forEach(addDeclared);
    if (ts.isClassDeclaration(node)) node.members.forEach(addDeclared);
  };
  for (const { statements } of files.values()) statements.forEach(addDeclared);
  return names;
}

/**
 * Returns the settings that the default class of a file reads, and the functions, methods and classes that it uses,
 * wherever they are defined. It does not follow CAST, whose tasks are readers of their own.
 */
function settingsReachedFrom(
  { checker, files }: Program,
  usable: ReadonlySet<string>,
  file: ts.SourceFile,
): ReadonlySet<string> {
  const settings = new Set<string>();
  const visited = new Set<ts.Node>();

  const visit = (node: ts.Node): void => {
    // Types do nothing, and of a base class only the methods that are called.
    if (ts.isTypeNode(node)) return;
    for (const name of propertiesOfSettings(checker, node)) settings.add(name);
    if ((ts.isIdentifier(node) || ts.isPrivateIdentifier(node)) && usable.has(node.text)) follow(node);
    node.forEachChild(visit);
  };
  const follow = (name: ts.Node): void => {
    for (const declaration of valueDeclarations(checker, name)) {
      if (visited.has(declaration) || !files.has(pathOf(declaration)) || isCast(declaration)) continue;
      visited.add(declaration);
      visit(declaration);
    }
  };

  const command = file.statements.find(
    (each) => ts.isClassDeclaration(each) && each.modifiers?.some(({ kind }) => kind === DEFAULT),
  );
  if (!command) throw new Error(`${file.fileName} has no command`);
  visited.add(command);
  visit(command);
  return settings;
}

const DEFAULT = ts.SyntaxKind.DefaultKeyword;

const isCast = (node: ts.Declaration): boolean =>
  ts.isVariableDeclaration(node) && node.name.getText() === 'CAST';

/** Returns the names of the settings that an expression or a pattern reads itself. */
function propertiesOfSettings(checker: ts.TypeChecker, node: ts.Node): readonly string[] {
  const [object, names] = propertiesOf(node);
  // To ask for a type takes long.
  const settings = names.filter(isSettingName);
  return object && settings.length > 0 && isSettings(checker, object) ? settings : [];
}

/** Returns the object whose properties an expression or a pattern reads, and their names. */
function propertiesOf(node: ts.Node): readonly [object: ts.Node | undefined, names: readonly string[]] {
  if (ts.isPropertyAccessExpression(node)) return [node.expression, [node.name.text]];
  if (ts.isElementAccessExpression(node) && ts.isStringLiteral(node.argumentExpression))
    return [node.expression, [node.argumentExpression.text]];
  if (!ts.isObjectBindingPattern(node)) return [undefined, []];
  const names = node.elements.map(({ propertyName, name }) => propertyName ?? name);
  return [node, names.map((name) => (ts.isStringLiteral(name) ? name.text : name.getText()))];
}

function isSettings(checker: ts.TypeChecker, node: ts.Node): boolean {
  const { aliasSymbol } = checker.getTypeAtLocation(node);
  return aliasSymbol !== undefined && SETTINGS_TYPES.has(aliasSymbol.name);
}

/** Returns the declarations of the value that a name stands for, through imports of either kind. */
function valueDeclarations(checker: ts.TypeChecker, name: ts.Node): readonly ts.Declaration[] {
  const symbol = checker.getSymbolAtLocation(name);
  if (!symbol) return [];
  const isImport = (symbol.flags & ts.SymbolFlags.Alias) !== 0;
  const { declarations = [] } = isImport ? checker.getAliasedSymbol(symbol) : symbol;
  // const { X } = await import('./x.js')
  if (declarations.some(ts.isBindingElement))
    return checker.getTypeAtLocation(name).getSymbol()?.declarations ?? [];
  return declarations.filter(
    (each) =>
      ts.isFunctionDeclaration(each) ||
      ts.isVariableDeclaration(each) ||
      ts.isClassDeclaration(each) ||
      ts.isMethodDeclaration(each) ||
      ts.isPropertyDeclaration(each) ||
      ts.isAccessor(each) ||
      ts.isPropertyAssignment(each),
  );
}

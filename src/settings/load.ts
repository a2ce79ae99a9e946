import { homedir } from 'node:os';
import { join } from 'node:path';
import {
  SETTING_DEFINITIONS,
  convertSetting,
  isSettingName,
  type ExplicitSettings,
  type RawSettings,
  type RawValue,
  type SettingName,
  type Settings,
} from '../config.js';
import { PiwError } from '../errors.js';
import { isPresent, parseConfigLines, readConfigFile, type ConfigLine } from './config-file.js';
import { environmentSettings } from './environment.js';
import { readSecretFile } from './secret-file.js';

/** Where the value of a setting comes from. `secretFile` is the file that the key or variable names. */
export type SettingOrigin =
  | { readonly source: 'default' }
  | { readonly source: 'file'; readonly file: string; readonly line: number; readonly secretFile?: string }
  | { readonly source: 'environment'; readonly variable: string; readonly secretFile?: string }
  | { readonly source: 'option'; readonly option: string };

interface Assignment {
  readonly name: SettingName;
  readonly value: RawValue;
  readonly origin: SettingOrigin;
}

/** A setting's value, and where it comes from. */
export interface TracedSetting {
  readonly name: SettingName;
  readonly value: Settings[SettingName];
  readonly origin: SettingOrigin;
}

/** Returns the default configuration files; a later file overrides an earlier one. */
export function defaultConfigFiles(): readonly string[] {
  return [
    '/etc/piwheels.conf',
    '/usr/local/etc/piwheels.conf',
    join(homedir(), '.config', 'piwheels', 'piwheels.conf'),
  ];
}

/**
 * Returns the settings of a command, with their origins: `options` of its command line override the environment, and
 * that overrides `file` (by default those of defaultConfigFiles() that exist), and that the defaults. Throws PIW_CONFIG
 * for an unknown key, an invalid value, or a file that can't be read; PIW_USAGE for an invalid value of an option.
 */
export function traceSettings(options: RawSettings, file?: string): readonly TracedSetting[] {
  const assignments = effectiveAssignments(options, file === undefined ? presentConfigFiles() : [file]);
  return Object.entries(SETTING_DEFINITIONS).map(([key, { fallback }]) => {
    const name = key as SettingName;
    const assignment = assignments.get(name);
    return assignment === undefined
      ? { name, value: fallback, origin: { source: 'default' } }
      : { name, value: convertAssignment(assignment), origin: assignment.origin };
  });
}

/** Returns the settings of a command, as traceSettings() does, without their origins. */
export function loadSettings(options: RawSettings, file?: string): Settings {
  return Object.fromEntries(
    traceSettings(options, file).map(({ name, value }) => [name, value]),
  ) as unknown as Settings;
}

/**
 * Returns only the settings of the command line, of the environment and of `file`, without default files and default
 * values. Throws the same errors as traceSettings().
 */
export function loadExplicitSettings(options: RawSettings, file: string | undefined): ExplicitSettings {
  const assignments = effectiveAssignments(options, file === undefined ? [] : [file]);
  return Object.fromEntries(
    [...assignments].map(([name, assignment]) => [name, convertAssignment(assignment)]),
  );
}

/** Returns the default configuration files that exist. */
export const presentConfigFiles = (): readonly string[] => defaultConfigFiles().filter(isPresent);

/** Returns the last assignment to each setting, in the order of precedence. */
function effectiveAssignments(
  options: RawSettings,
  files: readonly string[],
): ReadonlyMap<SettingName, Assignment> {
  const layers = [
    ...files.map(fileAssignments),
    environmentAssignments(process.env),
    optionAssignments(options),
  ];
  return new Map(layers.flatMap((layer) => [...layer]));
}

/** Returns the assignments of one file, in which a repeated key of a list appends to it. */
function fileAssignments(file: string): ReadonlyMap<SettingName, Assignment> {
  const assignments = new Map<SettingName, Assignment>();
  for (const line of parseConfigLines(readConfigFile(file), file)) {
    const assignment = lineAssignment(line, file);
    const { name, value, origin } = assignment;
    const earlier = assignments.get(name)?.value ?? [];
    const isList = SETTING_DEFINITIONS[name].kind === 'list';
    assignments.set(name, isList ? { name, value: [earlier, value].flat().map(String), origin } : assignment);
  }
  return assignments;
}

/** Returns what a line of a file assigns. Throws PIW_CONFIG if it names a file with a secret that can't be used. */
export function lineAssignment({ name, value, line, inFile }: ConfigLine, file: string): Assignment {
  const origin = { source: 'file', file, line } as const;
  return inFile ? fromSecretFile(name, value, origin) : { name, value, origin };
}

/** Returns the assignments of these environment variables. Throws PIW_CONFIG. */
export function environmentAssignments(environment: NodeJS.ProcessEnv): ReadonlyMap<SettingName, Assignment> {
  return new Map(
    environmentSettings(environment).map(({ name, value, variable, inFile }) => {
      const origin = { source: 'environment', variable } as const;
      return [name, inFile ? fromSecretFile(name, String(value), origin) : { name, value, origin }];
    }),
  );
}

/** Returns the assignments of the command line; oclif passes false for a boolean flag that is absent. */
function optionAssignments(options: RawSettings): ReadonlyMap<SettingName, Assignment> {
  return new Map(
    Object.entries(options).flatMap(([name, value]) =>
      !isSettingName(name) || value === undefined || value === false
        ? []
        : [[name, { name, value, origin: { source: 'option', option: `--${name}` } }] as const],
    ),
  );
}

function fromSecretFile(
  name: SettingName,
  path: string,
  origin: Exclude<SettingOrigin, { source: 'default' | 'option' }>,
): Assignment {
  const secretFile = path.replace(/^~(?=\/)/, homedir());
  return { name, value: readSecretFile(secretFile), origin: { ...origin, secretFile } };
}

/** Returns the value of an assignment in its type. Throws PIW_CONFIG, or PIW_USAGE for an option, and says where the value is. */
export function convertAssignment({ name, value, origin }: Assignment): Settings[SettingName] {
  return convertSetting(name, value, (text, problem) => {
    switch (origin.source) {
      case 'option':
        return new PiwError('PIW_USAGE', `${origin.option} ${text}: ${problem}`);
      case 'environment':
        return new PiwError('PIW_CONFIG', `${origin.variable}=${text}: ${problem}`);
      case 'file':
        return new PiwError(
          'PIW_CONFIG',
          `${origin.file}, line ${origin.line}: ${name} = ${text}: ${problem}`,
        );
      case 'default':
        return new PiwError('PIW_CONFIG', `${name} = ${text}: ${problem}`);
    }
  });
}

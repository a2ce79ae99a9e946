import { readFileSync, statSync } from 'node:fs';
import {
  SETTING_DEFINITIONS,
  currentKey,
  isSecret,
  isSettingName,
  type RawSettings,
  type SettingName,
} from '../config.js';
import { PiwError, errorMessage } from '../errors.js';
import { nearest } from '../nearest.js';
import { isQueueKey } from './piwheels-queues.js';

/** The suffix of the keys that name a file with a secret. */
const FILE_SUFFIX = '-file';

/** A setting that a file or a variable makes. */
export interface NamedSetting {
  readonly name: SettingName;
  /** True if the value is the path of a file that holds the secret. */
  readonly inFile: boolean;
}

/** A line of a configuration file. */
export interface ConfigLine extends NamedSetting {
  readonly value: string;
  /** Counted from 1. */
  readonly line: number;
}

/** Returns the setting that a key stands for, which may be a former key or that of a file with a secret. */
export function settingOfKey(key: string): NamedSetting | undefined {
  const name = currentKey(key);
  if (isSettingName(name)) return { name, inFile: false };
  const secret = currentKey(key.slice(0, -FILE_SUFFIX.length));
  return key.endsWith(FILE_SUFFIX) && isSettingName(secret) && isSecret(secret)
    ? { name: secret, inFile: true }
    : undefined;
}

/** Returns every key of a configuration file, without former ones. */
function allKeys(): readonly string[] {
  const names = Object.keys(SETTING_DEFINITIONS) as SettingName[];
  return [...names, ...names.filter(isSecret).map((name) => `${name}${FILE_SUFFIX}`)];
}

/** Returns the key that an unknown one most probably stands for. */
export const nearestKey = (key: string): string | undefined => nearest(key, allKeys());

/**
 * Parses one `key = value` line, the one with this number; returns undefined for a blank one, a `#` comment, a
 * `[section]` and the key of a piwheels queue. Throws PIW_CONFIG with the place for anything else, and for an unknown
 * key.
 */
export function parseConfigLine(raw: string, line: number, file: string): ConfigLine | undefined {
  const text = raw.trim();
  if (text === '' || text.startsWith('#') || text.startsWith('[')) return undefined;
  const location = `${file}, line ${line}`;
  const match = /^([A-Za-z][A-Za-z0-9_-]*)\s*=\s*(.*)$/.exec(text);
  if (!match) throw new PiwError('PIW_CONFIG', `${location}: not of the form key = value`);
  const key = (match[1] ?? '').replaceAll('_', '-');
  const setting = settingOfKey(key);
  if (setting === undefined && isQueueKey(key)) return undefined;
  if (setting === undefined) {
    const similar = nearestKey(key);
    const hint = similar === undefined ? '' : `; did you mean ${similar}?`;
    throw new PiwError('PIW_CONFIG', `${location}: unknown setting "${key}"${hint}`);
  }
  return { ...setting, value: (match[2] ?? '').replace(/\s+#.*$/, ''), line };
}

/** Returns the lines of a configuration file that are settings. Throws PIW_CONFIG. */
export const parseConfigLines = (contents: string, file: string): readonly ConfigLine[] =>
  contents.split(/\r?\n/).flatMap((raw, i) => parseConfigLine(raw, i + 1, file) ?? []);

/** Returns the keys of piwheels' queues in a configuration file. Throws PIW_CONFIG if the file can't be read. */
export function queueKeysOf(file: string): readonly string[] {
  const keys = readConfigFile(file)
    .split(/\r?\n/)
    .map((line) => line.replace(/=.*/, '').trim().replaceAll('_', '-'));
  return [...new Set(keys.filter(isQueueKey))];
}

/** Returns the settings of a configuration file; a repeated key of a list appends to it. Throws PIW_CONFIG. */
export function parseConfig(contents: string, file: string): RawSettings {
  const parsed: Record<string, string | string[]> = {};
  for (const { name, value } of parseConfigLines(contents, file).filter(({ inFile }) => !inFile)) {
    if (SETTING_DEFINITIONS[name].kind === 'list') parsed[name] = [parsed[name] ?? [], value].flat();
    else parsed[name] = value;
  }
  return parsed;
}

/** Returns the contents of a configuration file with these settings. */
export function formatConfig(settings: RawSettings): string {
  const lines = Object.entries(settings).flatMap(([name, value]) =>
    Array.isArray(value) ? value.map((item) => `${name} = ${String(item)}`) : [`${name} = ${String(value)}`],
  );
  return `${lines.join('\n')}\n`;
}

/** Returns the contents of a configuration file. Throws PIW_CONFIG if it can't be read. */
export function readConfigFile(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new PiwError('PIW_CONFIG', `${file} can't be read: ${errorMessage(error)}`, { cause: error });
  }
}

/** Returns whether there is such a file, readable or not; false if this user can't know. */
export function isPresent(file: string): boolean {
  try {
    statSync(file);
    return true;
  } catch {
    return false;
  }
}

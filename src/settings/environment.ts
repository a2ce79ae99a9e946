import { SETTING_DEFINITIONS, type RawValue } from '../config.js';
import { PiwError } from '../errors.js';
import { nearestKey, settingOfKey, type NamedSetting } from './config-file.js';

const PREFIX = 'PIW_';

/** Variables of piw that are no settings: what its own processes and its tests pass each other. */
const OTHER_VARIABLES =
  /^PIW_(?:SETTINGS|INSTANCE|FARM_BUILD_ENV|POSTGRES|NATS_UNPATCHED|TRUST_LOG|OUTAGE_LOG|TEST_\w*)$/;

/** A setting that an environment variable makes. */
interface EnvironmentSetting extends NamedSetting {
  readonly value: RawValue;
  readonly variable: string;
}

/** Returns the environment variable of a key: PIW_OUTPUT_PATH of output-path. */
const variableOf = (key: string): string => `${PREFIX}${key.toUpperCase().replaceAll('-', '_')}`;

/**
 * Returns the settings of the environment: PIW_ and the key in capitals, with _ for -. The items of a list are
 * separated by white space, or by line breaks if there are any, as for an item that contains spaces. Throws PIW_CONFIG
 * for a variable whose name is that of a setting but for a typing error; others may belong to another program.
 */
export function environmentSettings(environment: NodeJS.ProcessEnv): readonly EnvironmentSetting[] {
  return Object.entries(environment).flatMap(([variable, value]) => {
    if (value === undefined || !variable.startsWith(PREFIX) || OTHER_VARIABLES.test(variable)) return [];
    const key = variable.slice(PREFIX.length).toLowerCase().replaceAll('_', '-');
    const setting = settingOfKey(key);
    if (setting !== undefined) {
      const isList = SETTING_DEFINITIONS[setting.name].kind === 'list';
      return [{ ...setting, value: isList ? itemsOf(value) : value, variable }];
    }
    const similar = nearestKey(key);
    if (similar === undefined) return [];
    throw new PiwError(
      'PIW_CONFIG',
      `unknown environment variable ${variable}; did you mean ${variableOf(similar)}?`,
    );
  });
}

const itemsOf = (value: string): readonly string[] =>
  (value.includes('\n') ? value.split('\n') : value.split(/\s+/)).filter((item) => item.trim() !== '');

import { SETTING_DEFINITIONS, type SettingName, type Settings } from '../config.js';

const MASK = '***';

/** Returns the value of a setting for people, with the passwords and keys in it masked. */
export function maskSetting<K extends SettingName>(name: K, value: Settings[K]): Settings[K] | string {
  if (name === 'nkey' && value !== null) return MASK;
  return typeof value === 'string' && SETTING_DEFINITIONS[name].kind === 'text'
    ? maskPasswords(value)
    : value;
}

/** Masks the passwords of addresses (`//user:password@`), and those of `password=…` in a DSN. */
const maskPasswords = (text: string): string =>
  text
    .replace(/(\/\/[^/@:]*:)[^/@]*@/g, `$1${MASK}@`)
    .replace(/\b((?:ssl)?password\s*=\s*)(?:'[^']*'|[^\s&]+)/gi, `$1${MASK}`);

import { isIPv4, isIPv6 } from 'node:net';
import { stat } from 'node:fs/promises';
import maxmind, { type CityResponse, type CountryResponse, type Reader } from 'maxmind';
import { PiwError, reason } from '../errors.js';
import type { LogHost } from '../protocols/weblog.js';
import { clean, unescape, utf8 } from './text.js';

/** What is kept of who asked: the address as it stands, its network, or nothing. */
export type Keep = 'keep' | 'truncate' | 'drop';

/** Names of hosts have no more. */
const LIMIT = 255;

/** Who asked, as far as it is kept, and the country, which is looked up before anything of the address is dropped. */
export class Hosts {
  readonly #keep: Keep;
  readonly #countries: Countries | undefined;

  constructor(keep: Keep, countries?: Countries) {
    this.#keep = keep;
    this.#countries = countries;
  }

  of(raw: string): LogHost {
    const host = clean(utf8(unescape(raw)), LIMIT);
    const country = this.#countries?.of(host) ?? null;
    if (this.#keep === 'drop' || host === '-') return [null, country];
    return [this.#keep === 'truncate' ? network(host) : host, country];
  }
}

/** The /24 of an IPv4 address, the /48 of an IPv6 one; of a name all but its last two labels are left out. */
function network(host: string): string {
  const inner = /^::ffff:([\d.]+)$/i.exec(host)?.[1];
  if (isIPv4(inner ?? host)) return (inner ?? host).replace(/\d+$/, '0');
  if (!isIPv6(host)) return host.split('.').slice(-2).join('.');
  const [left = '', right] = (host.split('%')[0] ?? '').split('::');
  const groups = left === '' ? [] : left.split(':');
  const tail = right === undefined || right === '' ? [] : right.split(':');
  const zeros = right === undefined ? 0 : Math.max(0, 8 - groups.length - tail.length);
  const all = [...groups, ...Array.from({ length: zeros }, () => '0'), ...tail];
  const kept = all.slice(0, 3).map((group) => Number.parseInt(group || '0', 16).toString(16));
  while (kept.at(-1) === '0') kept.pop();
  return `${kept.join(':')}::`;
}

type Response = CountryResponse & CityResponse;

/** Which country an address is in, by a MaxMind database of countries or cities. */
export class Countries {
  readonly #file: string;
  #reader: Reader<Response>;
  #version: string;

  private constructor(file: string, reader: Reader<Response>, version: string) {
    this.#file = file;
    this.#reader = reader;
    this.#version = version;
  }

  /** Raises PIW_CONFIG where the file can't be read, or is none. */
  static async open(file: string): Promise<Countries> {
    try {
      const version = await versionOf(file);
      const countries = new Countries(file, await maxmind.open<Response>(file), version);
      countries.of('192.0.2.1');
      return countries;
    } catch (error) {
      const text = `${file} can't be read as a MaxMind database: ${reason(error)}`;
      throw new PiwError('PIW_CONFIG', text, { cause: error });
    }
  }

  /** Null for a name, and for an address that the database doesn't have. */
  of(host: string): string | null {
    if (!isIPv4(host) && !isIPv6(host)) return null;
    const found = this.#reader.get(host);
    const code = found?.country?.iso_code ?? found?.registered_country?.iso_code;
    return code !== undefined && /^[A-Z]{2}$/.test(code) ? code : null;
  }

  /** Reads the file anew if it is another one; what can't be read leaves things as they are. */
  async refresh(): Promise<void> {
    try {
      const version = await versionOf(this.#file);
      if (version === this.#version) return;
      this.#reader = await maxmind.open<Response>(this.#file);
      this.#version = version;
    } catch {
      // It is being replaced; the next time.
    }
  }
}

async function versionOf(file: string): Promise<string> {
  const { mtimeMs, ino, size } = await stat(file);
  return `${String(mtimeMs)} ${String(ino)} ${String(size)}`;
}

import { isIPv4, isIPv6 } from 'node:net';
import { stat } from 'node:fs/promises';
import maxmind, { type CityResponse, type CountryResponse, type Reader } from 'maxmind';
import { PiwError, errorMessage } from '../errors.js';
import type { LogHost } from '../protocols/weblog.js';
import { clean, unescapeLogText, decodeUtf8 } from './text.js';

/** What is kept of a client's address: all of it, its network, or nothing. */
type HostRetention = 'keep' | 'truncate' | 'drop';

/** Maximum length of a hostname (RFC 1035). */
const MAX_HOST_LENGTH = 255;

/** Determines what is kept of a client's address, and its country, which is looked up before the address is truncated. */
export class HostResolver {
  readonly #retention: HostRetention;
  readonly #countries: CountryDatabase | undefined;

  constructor(retention: HostRetention, countries?: CountryDatabase) {
    this.#retention = retention;
    this.#countries = countries;
  }

  resolve(raw: string): LogHost {
    const host = clean(decodeUtf8(unescapeLogText(raw)), MAX_HOST_LENGTH);
    const country = this.#countries?.countryOf(host) ?? null;
    if (this.#retention === 'drop' || host === '-') return [null, country];
    return [this.#retention === 'truncate' ? truncateHost(host) : host, country];
  }
}

/** Returns the /24 network of an IPv4 address, the /48 network of an IPv6 address, or the last two labels of a name. */
function truncateHost(host: string): string {
  const inner = /^::ffff:([\d.]+)$/i.exec(host)?.[1];
  if (isIPv4(inner ?? host)) return (inner ?? host).replace(/\d+$/, '0');
  if (!isIPv6(host)) return host.split('.').slice(-2).join('.');
  const [left = '', right] = (host.split('%')[0] ?? '').split('::');
  const groups = left === '' ? [] : left.split(':');
  const tail = right === undefined || right === '' ? [] : right.split(':');
  const zeros = right === undefined ? 0 : Math.max(0, 8 - groups.length - tail.length);
  const allGroups = [...groups, ...Array.from({ length: zeros }, () => '0'), ...tail];
  const prefixGroups = allGroups.slice(0, 3).map((group) => Number.parseInt(group || '0', 16).toString(16));
  while (prefixGroups.at(-1) === '0') prefixGroups.pop();
  return `${prefixGroups.join(':')}::`;
}

type GeoIpRecord = CountryResponse & CityResponse;

/** Looks up the country of an address in a MaxMind database of countries or cities. */
export class CountryDatabase {
  readonly #file: string;
  #reader: Reader<GeoIpRecord>;
  #fileStamp: string;

  private constructor(file: string, reader: Reader<GeoIpRecord>, fileStamp: string) {
    this.#file = file;
    this.#reader = reader;
    this.#fileStamp = fileStamp;
  }

  /** Opens a database. Throws PIW_CONFIG if the file can't be read or is not a MaxMind database. */
  static async open(file: string): Promise<CountryDatabase> {
    try {
      const fileStamp = await fileStampOf(file);
      const countries = new CountryDatabase(file, await maxmind.open<GeoIpRecord>(file), fileStamp);
      countries.countryOf('192.0.2.1');
      return countries;
    } catch (error) {
      const text = `${file} can't be read as a MaxMind database: ${errorMessage(error)}`;
      throw new PiwError('PIW_CONFIG', text, { cause: error });
    }
  }

  /** Returns the ISO 3166 code of the country; null for a name, and for an address that is not in the database. */
  countryOf(host: string): string | null {
    if (!isIPv4(host) && !isIPv6(host)) return null;
    const record = this.#reader.get(host);
    const code = record?.country?.iso_code ?? record?.registered_country?.iso_code;
    return code !== undefined && /^[A-Z]{2}$/.test(code) ? code : null;
  }

  /** Reopens the file if it was replaced. If it can't be read, the old database stays in use. */
  async refresh(): Promise<void> {
    try {
      const fileStamp = await fileStampOf(this.#file);
      if (fileStamp === this.#fileStamp) return;
      this.#reader = await maxmind.open<GeoIpRecord>(this.#file);
      this.#fileStamp = fileStamp;
    } catch {
      // The file is being replaced: try again at the next refresh.
    }
  }
}

async function fileStampOf(file: string): Promise<string> {
  const { mtimeMs, ino, size } = await stat(file);
  return `${mtimeMs} ${ino} ${size}`;
}

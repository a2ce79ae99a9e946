import { isIPv4, isIPv6 } from 'node:net';
import { stat } from 'node:fs/promises';
import maxmind, { type CityResponse, type CountryResponse, type Reader } from 'maxmind';
import { PiwError, errorMessage } from '../errors.js';
import type { LogHost } from '../protocols/weblog.js';
import { clean, unescapeLogText, decodeUtf8 } from './text.js';

/** What is kept of who asked: the address as it stands, its network, or nothing. */
export type HostRetention = 'keep' | 'truncate' | 'drop';

/** Names of hosts have no more. */
const MAX_HOST_LENGTH = 255;

/** Who asked, as far as it is kept, and the country, which is looked up before anything of the address is dropped. */
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

/** The /24 of an IPv4 address, the /48 of an IPv6 one; of a name all but its last two labels are left out. */
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

/** Which country an address is in, by a MaxMind database of countries or cities. */
export class CountryDatabase {
  readonly #file: string;
  #reader: Reader<GeoIpRecord>;
  #fileStamp: string;

  private constructor(file: string, reader: Reader<GeoIpRecord>, fileStamp: string) {
    this.#file = file;
    this.#reader = reader;
    this.#fileStamp = fileStamp;
  }

  /** Raises PIW_CONFIG where the file can't be read, or is none. */
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

  /** Null for a name, and for an address that the database doesn't have. */
  countryOf(host: string): string | null {
    if (!isIPv4(host) && !isIPv6(host)) return null;
    const record = this.#reader.get(host);
    const code = record?.country?.iso_code ?? record?.registered_country?.iso_code;
    return code !== undefined && /^[A-Z]{2}$/.test(code) ? code : null;
  }

  /** Reads the file anew if it is another one; what can't be read leaves things as they are. */
  async refresh(): Promise<void> {
    try {
      const fileStamp = await fileStampOf(this.#file);
      if (fileStamp === this.#fileStamp) return;
      this.#reader = await maxmind.open<GeoIpRecord>(this.#file);
      this.#fileStamp = fileStamp;
    } catch {
      // It is being replaced; the next time.
    }
  }
}

async function fileStampOf(file: string): Promise<string> {
  const { mtimeMs, ino, size } = await stat(file);
  return `${String(mtimeMs)} ${String(ino)} ${String(size)}`;
}

import { seededRandom } from '../helpers/random.js';

/** Generates a web server's log like a farm's: pip on many machines, and thousands of files, some of them popular. */

export interface LogShape {
  readonly lines: number;
  readonly files: number;
  /** The time of the first line, milliseconds since 1970. */
  readonly begin: number;
  /** Lines per second. */
  readonly perSecond: number;
}

const PYTHONS = ['3.7.3', '3.9.2', '3.11.2', '3.12.7', '3.13.5'];
const PIPS = ['18.1', '20.3.4', '22.3.1', '23.0.1', '24.2', '25.1.1'];
const CPUS = ['armv6l', 'armv7l', 'aarch64'];
const KERNELS = ['5.10.103-v7l+', '6.1.21-v8+', '6.6.51+rpt-rpi-v8', '6.12.25+rpt-rpi-2712'];
const DISTROS = [
  ['Raspbian GNU/Linux', '10', 'buster'],
  ['Raspbian GNU/Linux', '11', 'bullseye'],
  ['Debian GNU/Linux', '12', 'bookworm'],
  ['Debian GNU/Linux', '13', 'trixie'],
] as const;
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

export const packageOf = (file: number): string => `bench-${Math.floor(file / 8)}`;
export const filenameOf = (file: number): string =>
  `bench_${Math.floor(file / 8)}-1.${file % 8}.0-cp311-cp311-linux_armv7l.whl`;

/** Generates the lines in Apache's combined format, 2000 at a time; always the same lines for a shape. */
export function* logLines({ lines, files, begin, perSecond }: LogShape): Generator<string> {
  const random = seededRandom(1);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;
  const agents = Array.from({ length: 400 }, () => pipAgent(pick));
  let second = -1;
  let time = '';
  for (let n = 0; n < lines;) {
    const part: string[] = [];
    for (; part.length < 2000 && n < lines; n += 1) {
      if (Math.floor(n / perSecond) !== second) {
        second = Math.floor(n / perSecond);
        time = apacheTime(new Date(begin + second * 1000));
      }
      // The n-th file is requested 1/n as often as the first (Zipf's law).
      const file = Math.floor((files + 1) ** random()) - 1;
      const host = `${String(random() * 200 + 11).slice(0, 2)}.${[0, 0, 0].map(() => Math.floor(random() * 250)).join('.')}`;
      part.push(
        `${host} - - [${time}] "GET /simple/${packageOf(file)}/${filenameOf(file)} HTTP/1.1" 200 ${Math.floor(random() * 1e6)} "-" "${pick(agents)}"\n`,
      );
    }
    yield part.join('');
  }
}

function apacheTime(time: Date): string {
  const [year, month, day] = [time.getUTCFullYear(), time.getUTCMonth(), time.getUTCDate()];
  return `${String(day).padStart(2, '0')}/${MONTHS[month] ?? ''}/${year}:${time.toISOString().slice(11, 19)} +0000`;
}

/** Returns a User-Agent of pip, escaped as in Apache's log. */
function pipAgent(pick: <T>(from: readonly T[]) => T): string {
  const [name, version, id] = pick(DISTROS);
  const python = pick(PYTHONS);
  const pip = pick(PIPS);
  const agentData = {
    ci: null,
    cpu: pick(CPUS),
    distro: { id, libc: { lib: 'glibc', version: '2.31' }, name, version },
    implementation: { name: 'CPython', version: python },
    installer: { name: 'pip', version: pip },
    openssl_version: 'OpenSSL 1.1.1n  15 Mar 2022',
    python,
    setuptools_version: '65.5.0',
    system: { name: 'Linux', release: pick(KERNELS) },
  };
  return `pip/${pip} ${JSON.stringify(agentData).replaceAll('"', '\\"')}`;
}

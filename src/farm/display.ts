import { formatBytes } from '../site/pages/html.js';
import { pipInstallCommand } from '../site/pages/install.js';
import { formatDuration } from '../monitor/slave-table.js';
import type { FarmEvent } from './events.js';

interface Display {
  show(event: FarmEvent): void;
  close(): void;
}

/** Returns a display that writes one JSON object per line to standard output. */
export function jsonDisplay(): Display {
  return {
    show: (event) => {
      process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), ...event })}\n`);
    },
    close: () => undefined,
  };
}

/** Returns a display for a pipe: it writes a line when something begins or ends, and nothing in between. */
export function plainDisplay(): Display {
  const building = new Map<number, string>();
  return {
    show: (event) => {
      if (event.event === 'building') {
        const build = `${event.package} ${event.version}`;
        if (building.get(event.slave) === build) return;
        building.set(event.slave, build);
        process.stdout.write(`slave-${event.slave} builds ${build}\n`);
        return;
      }
      if (event.event === 'idle') building.delete(event.slave);
      for (const line of eventLines(event)) process.stdout.write(`${line}\n`);
    },
    close: () => undefined,
  };
}

interface DisplayedActivity {
  readonly text: string;
  readonly since: number;
  readonly detail: string;
}

const FRAME_MS = 120;

/** Returns a display for a terminal: the same lines, and below them a line for each slave, redrawn every FRAME_MS. */
export function liveDisplay(): Display {
  const out = process.stdout;
  const slaves = new Map<number, DisplayedActivity>();
  let drawn = 0;
  const erase = () => {
    if (drawn > 0) out.write(`\u001b[${drawn}A\u001b[J`);
    drawn = 0;
  };
  const draw = () => {
    erase();
    const width = Math.max(20, out.columns || 80) - 1;
    const rows = [...slaves]
      .sort(([a], [b]) => a - b)
      .map(([number, { text, since, detail }]) => {
        const seconds = Math.floor((performance.now() - since) / 1000);
        const head = `slave-${number}  ${text}`;
        return text === 'idle'
          ? `\u001b[2m${head}\u001b[22m`
          : `${head}  ${seconds} s  \u001b[2m${detail.slice(0, Math.max(0, width - head.length - 10))}\u001b[22m`;
      });
    out.write(rows.map((row) => `${row}\n`).join(''));
    drawn = rows.length;
  };
  const timer = setInterval(draw, FRAME_MS);
  timer.unref();
  const setActivity = (number: number, text: string, detail: string) => {
    const previous = slaves.get(number);
    const since = previous?.text === text ? previous.since : performance.now();
    slaves.set(number, { text, detail, since });
  };
  return {
    show: (event) => {
      if (event.event === 'idle') setActivity(event.slave, 'idle', '');
      else if (event.event === 'building')
        setActivity(event.slave, `builds ${event.package} ${event.version}`, printable(event.line));
      else if (event.event === 'sending')
        setActivity(
          event.slave,
          `sends ${event.filename}`,
          `${formatBytes(event.sent)} of ${formatBytes(event.size)}`,
        );
      const messages = eventLines(event);
      if (messages.length === 0) return;
      erase();
      for (const line of messages) out.write(`${line}\n`);
      draw();
    },
    close: () => {
      clearInterval(timer);
      erase();
    },
  };
}

/** Returns a line of a build's output without control characters, which could change the terminal. */
// eslint-disable-next-line no-control-regex
const printable = (line: string): string => line.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').trim();

/** Returns the lines that describe an event to people; none for events that only a live display shows. */
function eventLines(event: FarmEvent): readonly string[] {
  switch (event.event) {
    case 'setup':
      return [event.text];
    case 'trouble':
      return [`! ${event.text}`];
    case 'ready':
      return [
        `The farm is running: ${event.url}`,
        `  ${pipInstallCommand(event.index, event.samples ? 'piw-sample-pure' : 'PACKAGE')}`,
        event.slaves === 0
          ? 'No slave runs on this machine: piw slaves add NAME lets a slave on another machine build for the farm.'
          : 'Builds run the code of the packages on this machine: use it for trying out, and for packages that you trust.',
      ];
    case 'built':
      return event.status
        ? [`built ${event.package} ${event.version} for ${event.abi} in ${event.duration_s.toFixed(1)} s`]
        : [
            `FAILED ${event.package} ${event.version} for ${event.abi} (${event.failure_class ?? 'other'}) after ${event.duration_s.toFixed(1)} s${event.why === null ? '' : `: ${event.why}`}${retryNote(event.retry_after_s)}`,
          ];
    case 'published':
      return [`published ${event.filenames.join(', ')}`];
    case 'not-built':
      return [`${event.package}${event.version === null ? '' : ` ${event.version}`} failed: ${event.why}`];
    default:
      return [];
  }
}

const retryNote = (seconds: number | null): string =>
  seconds === null ? '' : `; retrying in ${formatDuration(seconds * 1000)}`;

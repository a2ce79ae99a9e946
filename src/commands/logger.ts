import { open, type FileHandle } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { Args, Flags } from '@oclif/core';
import { Client } from '../actor/client.js';
import { PiwError, reason } from '../errors.js';
import { lumberjack } from '../protocols/logger.js';
import type { LogRow } from '../protocols/oracle.js';
import { parseLine, type LogKind } from '../weblog/line.js';
import { EXIT_CODES, PiwCommand, natsFlags } from './base.js';

/** Rows of one message, and how long a row waits for others, milliseconds. */
const BATCH = 1000;
const DELAY_MS = 1000;

export default class Logger extends PiwCommand {
  static override summary = "Pass a web server's log on to the farm, which counts downloads and visits.";
  static override description = `Reads Apache's combined format, with or without the virtual host, from files or from a pipe.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> logger /var/log/apache2/ssl_access.log',
    'CustomLog "|/usr/local/bin/piw logger --drop" combined',
  ];
  static override strict = false;
  static override args = {
    files: Args.string({ ignoreStdin: true, description: 'the logs; - or none: standard input' }),
  };
  static override flags = {
    drop: Flags.boolean({
      default: false,
      description: 'let go what the farm does not take, instead of ending',
    }),
    ...natsFlags,
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { argv, flags } = await this.parse(Logger);
    const bus = await this.connect(this.settings(flags));
    const master = new Client(bus, lumberjack, undefined, {
      timeoutMs: 10_000,
      patienceMs: flags.drop ? 10_000 : 60_000,
    });
    const counts = { rows: 0, passed: 0, dropped: 0 };
    const waiting = new Map<LogKind, LogRow[]>();
    const send = async (kind: LogKind): Promise<void> => {
      const rows = waiting.get(kind) ?? [];
      waiting.delete(kind);
      if (rows.length === 0) return;
      try {
        await master.ask(kind, { rows });
        counts.passed += rows.length;
      } catch (error) {
        if (!flags.drop || !(error instanceof PiwError)) throw error;
        counts.dropped += rows.length;
      }
    };
    let sent = Date.now();
    try {
      for (const name of argv.length > 0 ? (argv as string[]) : ['-']) {
        const input = name === '-' ? process.stdin : (await openLog(name)).createReadStream();
        for await (const line of createInterface({ input, crlfDelay: Infinity })) {
          const entry = parseLine(line);
          if (!entry) continue;
          counts.rows += 1;
          const rows = waiting.get(entry.kind) ?? [];
          rows.push(entry.row);
          waiting.set(entry.kind, rows);
          if (rows.length < BATCH && Date.now() - sent < DELAY_MS) continue;
          for (const kind of [...waiting.keys()]) await send(kind);
          sent = Date.now();
        }
      }
      for (const kind of [...waiting.keys()]) await send(kind);
    } finally {
      await bus.drain();
    }
    this.log(`${String(counts.passed)} entries were passed on, ${String(counts.dropped)} dropped.`);
    return counts;
  }
}

async function openLog(name: string): Promise<FileHandle> {
  try {
    return await open(name);
  } catch (error) {
    throw new PiwError('PIW_USAGE', `${name} can't be read: ${reason(error)}`, { cause: error });
  }
}

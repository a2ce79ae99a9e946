/**
 * Every client against every server, with everything that it has to manage: `node dist/test/clients/matrix.js [CLIENT or SERVER…]`.
 * It prints a table, and exits with 1 if anything failed. Needs what test/helpers/debian.ts and installers.ts say.
 */
import { pathToFileURL } from 'node:url';
import { reason } from '../../src/errors.js';
import { KINDS, serve } from '../helpers/web-servers.js';
import { checksOf, perform } from './checks.js';
import { CLIENTS, findClient, type Client } from './installers.js';
import { makeShelf } from './shelf.js';

async function main(only: readonly string[]): Promise<number> {
  const say = (line: string): void => {
    process.stdout.write(`${line}\n`);
  };
  const clients: Client[] = [];
  const named = <Name extends string>(all: readonly Name[]): readonly Name[] =>
    all.some((one) => only.includes(one)) ? all.filter((one) => only.includes(one)) : all;
  const kinds = named(KINDS);
  for (const name of named(CLIENTS)) {
    const start = performance.now();
    clients.push(await findClient(name));
    say(`${name} ${clients.at(-1)?.version ?? ''} (${((performance.now() - start) / 1000).toFixed(1)} s)`);
  }
  const shelf = await makeShelf();
  const failures: string[] = [];
  const cells = new Map<string, string>();
  const titles = new Map<string, Set<string>>();
  for (const kind of kinds) {
    const server = await serve(kind, shelf.output);
    const end = (): void => {
      void server.stop().then(() => process.exit(130));
    };
    process.once('SIGINT', end).once('SIGTERM', end);
    say(`${kind} ${server.version}`);
    try {
      for (const client of clients) {
        for (const [title, check] of Object.entries(checksOf(client.name))) {
          const start = performance.now();
          let cell: string;
          try {
            await perform(check, client, server, shelf);
            cell = `${((performance.now() - start) / 1000).toFixed(1)} s`;
          } catch (error) {
            cell = 'FAILED';
            failures.push(`${client.name}, ${kind}, ${title}: ${reason(error)}`);
          }
          cells.set(`${title}|${client.name}|${kind}`, cell);
          titles.set(title, (titles.get(title) ?? new Set()).add(client.name));
        }
      }
    } finally {
      process.off('SIGINT', end).off('SIGTERM', end);
      await server.stop();
    }
  }
  const columns = clients.flatMap((client) => kinds.map((kind) => [client, kind] as const));
  say(['', ...columns.map(([client, kind]) => `${client.name} ${kind}`)].join(' | '));
  for (const title of titles.keys())
    say(
      [title, ...columns.map(([client, kind]) => cells.get(`${title}|${client.name}|${kind}`) ?? '-')].join(
        ' | ',
      ),
    );
  for (const failure of failures) say(`\nFAILED: ${failure}`);
  return failures.length === 0 ? 0 : 1;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  process.exitCode = await main(process.argv.slice(2));

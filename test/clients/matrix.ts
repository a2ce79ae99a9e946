/**
 * Runs all checks of every client against every server: `node dist/test/clients/matrix.js [CLIENT or SERVER…]`.
 * Prints a table, and exits with 1 if anything failed. Its prerequisites are in test/helpers/debian.ts and installers.ts.
 */
import { pathToFileURL } from 'node:url';
import { errorMessage } from '../../src/errors.js';
import { WEB_SERVER_KINDS, serve } from '../helpers/web-servers.js';
import { checksOf, runCheck } from './checks.js';
import { INSTALLERS, findInstaller, type PackageInstaller } from './installers.js';
import { makeShelf } from './shelf.js';

async function main(selection: readonly string[]): Promise<number> {
  const print = (line: string): void => {
    process.stdout.write(`${line}\n`);
  };
  const clients: PackageInstaller[] = [];
  const selected = <Name extends string>(available: readonly Name[]): readonly Name[] =>
    available.some((name) => selection.includes(name))
      ? available.filter((name) => selection.includes(name))
      : available;
  const kinds = selected(WEB_SERVER_KINDS);
  for (const name of selected(INSTALLERS)) {
    const start = performance.now();
    clients.push(await findInstaller(name));
    print(`${name} ${clients.at(-1)?.version ?? ''} (${((performance.now() - start) / 1000).toFixed(1)} s)`);
  }
  const shelf = await makeShelf();
  const failures: string[] = [];
  const cells = new Map<string, string>();
  const titles = new Map<string, Set<string>>();
  for (const kind of kinds) {
    const server = await serve(kind, shelf.output);
    const stopAndExit = (): void => {
      void server.stop().then(() => process.exit(130));
    };
    process.once('SIGINT', stopAndExit).once('SIGTERM', stopAndExit);
    print(`${kind} ${server.version}`);
    try {
      for (const client of clients) {
        for (const [title, check] of Object.entries(checksOf(client.name))) {
          const start = performance.now();
          let cell: string;
          try {
            await runCheck(check, client, server, shelf);
            cell = `${((performance.now() - start) / 1000).toFixed(1)} s`;
          } catch (error) {
            cell = 'FAILED';
            failures.push(`${client.name}, ${kind}, ${title}: ${errorMessage(error)}`);
          }
          cells.set(`${title}|${client.name}|${kind}`, cell);
          titles.set(title, (titles.get(title) ?? new Set()).add(client.name));
        }
      }
    } finally {
      process.off('SIGINT', stopAndExit).off('SIGTERM', stopAndExit);
      await server.stop();
    }
  }
  const columns = clients.flatMap((client) => kinds.map((kind) => [client, kind] as const));
  print(['', ...columns.map(([client, kind]) => `${client.name} ${kind}`)].join(' | '));
  for (const title of titles.keys())
    print(
      [title, ...columns.map(([client, kind]) => cells.get(`${title}|${client.name}|${kind}`) ?? '-')].join(
        ' | ',
      ),
    );
  for (const failure of failures) print(`\nFAILED: ${failure}`);
  return failures.length === 0 ? 0 : 1;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  process.exitCode = await main(process.argv.slice(2));

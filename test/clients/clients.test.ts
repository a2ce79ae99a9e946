/** What is most telling of the matrix, so that it takes no longer than it must; matrix.ts is all of it. */
import t from 'tap';
import { orMissing } from '../helpers/missing.js';
import { KINDS, serve, type Kind, type ServedBy } from '../helpers/web-servers.js';
import { checksOf, perform } from './checks.js';
import { findClient, type Client, type ClientName } from './installers.js';
import { makeShelf } from './shelf.js';

/** Each client with these servers, and what it has to manage there; everything where nothing is named. */
const CHOSEN: readonly (readonly [client: ClientName, kind: Kind, only?: readonly string[]])[] = [
  ['uv', 'piw web'],
  ['uv', 'nginx', ['install', 'by hash', 'yanked', 'backtracking', 'lock and sync']],
  ['uv', 'Apache', ['install', 'by hash', 'yanked', 'backtracking', 'lock and sync']],
  ['pip newest', 'piw web'],
  ['pip newest', 'nginx', ['install', 'backtracking']],
  ['pip newest', 'Apache', ['install', 'backtracking']],
  ['pip 23.0.1', 'Apache', ['by hash', 'yanked', 'backtracking']],
  ['pip 22.2', 'nginx', ['install', 'yanked', 'backtracking']],
  ['Poetry', 'nginx', ['lock and sync', 'yanked', 'backtracking']],
];

const shelf = await makeShelf();
const servers = new Map<Kind, ServedBy | string>();
for (const kind of KINDS) {
  const server = await orMissing(() => serve(kind, shelf.output));
  servers.set(kind, server);
  if (typeof server !== 'string') t.teardown(() => server.stop());
}
const clients = new Map<ClientName, Client | string>();
for (const [name] of CHOSEN)
  if (!clients.has(name)) clients.set(name, await orMissing(() => findClient(name)));

for (const [name, kind, only] of CHOSEN) {
  const client = clients.get(name);
  const server = servers.get(kind);
  const title = `${name} gets from ${kind} what it needs, and asks for nothing else`;
  if (typeof client !== 'object' || typeof server !== 'object') {
    const missing = [client, server].filter((one) => typeof one === 'string').join('; ');
    void t.test(title, { skip: missing }, () => undefined);
    continue;
  }
  void t.test(title, async (t) => {
    t.comment(`${name} is ${client.version}, ${kind} ${server.version}`);
    const checks = Object.entries(checksOf(name)).filter(([one]) => only?.includes(one) ?? true);
    t.equal(checks.length, only?.length ?? checks.length, 'all that are named are there');
    for (const [what, check] of checks) {
      try {
        await perform(check, client, server, shelf);
        t.pass(what);
      } catch (error) {
        t.fail(`${what}: ${String(error instanceof Error ? error.message : error)}`);
      }
    }
  });
}

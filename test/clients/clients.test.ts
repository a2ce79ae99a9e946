/** Runs the most significant part of the matrix, to save time; matrix.ts runs all of it. */
import t from 'tap';
import { orSkipReason } from '../helpers/missing.js';
import {
  WEB_SERVER_KINDS,
  serve,
  type WebServerKind,
  type RunningWebServer,
} from '../helpers/web-servers.js';
import { checksOf, runCheck } from './checks.js';
import { findInstaller, type PackageInstaller, type InstallerName } from './installers.js';
import { makeShelf } from './shelf.js';

/** Clients, servers and the checks to run with them; all checks if none are named. */
const SELECTED_CHECKS: readonly (readonly [
  client: InstallerName,
  kind: WebServerKind,
  only?: readonly string[],
])[] = [
  ['uv', 'piw web'],
  ['uv', 'nginx', ['by hash', 'backtracking', 'lock and sync']],
  ['uv', 'Apache', ['yanked', 'backtracking']],
  ['pip newest', 'piw web'],
  ['pip newest', 'nginx', ['backtracking']],
  ['pip newest', 'Apache', ['install']],
  ['pip 23.0.1', 'Apache', ['by hash', 'yanked', 'backtracking']],
  ['pip 22.2', 'nginx', ['install', 'yanked', 'backtracking']],
  ['Poetry', 'nginx', ['lock and sync', 'yanked', 'backtracking']],
];

const shelf = await makeShelf();
const servers = new Map<WebServerKind, RunningWebServer | string>();
for (const kind of WEB_SERVER_KINDS) {
  const server = await orSkipReason(() => serve(kind, shelf.output));
  servers.set(kind, server);
  if (typeof server !== 'string') t.teardown(() => server.stop());
}
const clients = new Map<InstallerName, PackageInstaller | string>();
for (const [name] of SELECTED_CHECKS)
  if (!clients.has(name)) clients.set(name, await orSkipReason(() => findInstaller(name)));

for (const [name, kind, only] of SELECTED_CHECKS) {
  const client = clients.get(name);
  const server = servers.get(kind);
  const title = `${name} gets what it needs from ${kind}, and requests nothing else`;
  if (typeof client !== 'object' || typeof server !== 'object') {
    const missing = [client, server].filter((reason) => typeof reason === 'string').join('; ');
    void t.test(title, { skip: missing }, () => undefined);
    continue;
  }
  void t.test(title, async (t) => {
    t.comment(`${name} is ${client.version}, ${kind} ${server.version}`);
    const checks = Object.entries(checksOf(name)).filter(([checkName]) => only?.includes(checkName) ?? true);
    t.equal(checks.length, only?.length ?? checks.length, 'all named checks exist');
    for (const [checkName, check] of checks) {
      try {
        await runCheck(check, client, server, shelf);
        t.pass(checkName);
      } catch (error) {
        t.fail(`${checkName}: ${String(error instanceof Error ? error.message : error)}`);
      }
    }
  });
}

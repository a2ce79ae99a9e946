import { deepStrictEqual } from 'node:assert/strict';
import type { RunningWebServer } from '../helpers/web-servers.js';
import type { Check, Checks } from './expected.js';
import { OLD_PIPS, type PackageInstaller, type InstallerName } from './installers.js';
import { PIP, PIP_BY_METADATA, PIP_BY_WHEEL, PIP_NEWEST } from './pip.js';
import { POETRY } from './poetry.js';
import { InstallerSession } from './session.js';
import { MISSING_PROJECT, type Shelf } from './shelf.js';
import { UV } from './uv.js';

/** The checks that this client has to pass. */
export function checksOf(client: InstallerName): Checks {
  if (client === 'uv') return UV;
  if (client === 'Poetry') return POETRY;
  return {
    ...PIP,
    ...(OLD_PIPS.some((name) => name === client) ? PIP_BY_WHEEL : PIP_BY_METADATA),
    ...(client === 'pip newest' ? PIP_NEWEST : {}),
  };
}

/** Has a client do one of its checks; in all of it, it may ask the server for nothing that it doesn't need. */
export async function runCheck(
  check: Check,
  client: PackageInstaller,
  server: RunningWebServer,
  shelf: Shelf,
): Promise<void> {
  const session = await InstallerSession.open(client, server, shelf);
  try {
    await check(session);
    const strayRequests = (await session.strayRequests()).filter(
      (one) => one !== `GET /simple/${MISSING_PROJECT}/ 404`,
    );
    deepStrictEqual(strayRequests, [], 'requests for what is not there, or for what nobody needs');
  } finally {
    session.close();
  }
}

import { deepStrictEqual } from 'node:assert/strict';
import type { RunningWebServer } from '../helpers/web-servers.js';
import type { Check, Checks } from './expected.js';
import { OLD_PIPS, type PackageInstaller, type InstallerName } from './installers.js';
import { PIP, PIP_BY_METADATA, PIP_BY_WHEEL, PIP_NEWEST } from './pip.js';
import { POETRY } from './poetry.js';
import { InstallerSession } from './session.js';
import { MISSING_PROJECT, type Shelf } from './shelf.js';
import { UV } from './uv.js';

/** Returns the checks that a client has to pass. */
export function checksOf(client: InstallerName): Checks {
  if (client === 'uv') return UV;
  if (client === 'Poetry') return POETRY;
  return {
    ...PIP,
    ...(OLD_PIPS.some((name) => name === client) ? PIP_BY_WHEEL : PIP_BY_METADATA),
    ...(client === 'pip newest' ? PIP_NEWEST : {}),
  };
}

/** Runs a check with a client; throws if the client requests anything that it doesn't need. */
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
      (request) => request !== `GET /simple/${MISSING_PROJECT}/ 404`,
    );
    deepStrictEqual(strayRequests, [], 'requests for missing or unneeded files');
  } finally {
    session.close();
  }
}

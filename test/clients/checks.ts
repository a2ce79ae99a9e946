import { deepStrictEqual } from 'node:assert/strict';
import type { ServedBy } from '../helpers/web-servers.js';
import type { Check, Checks } from './expected.js';
import { OLD_PIPS, type Client, type ClientName } from './installers.js';
import { PIP, PIP_BY_METADATA, PIP_BY_WHEEL, PIP_NEWEST } from './pip.js';
import { POETRY } from './poetry.js';
import { Session } from './session.js';
import { MISSING, type Shelf } from './shelf.js';
import { UV } from './uv.js';

/** The checks that this client has to pass. */
export function checksOf(client: ClientName): Checks {
  if (client === 'uv') return UV;
  if (client === 'Poetry') return POETRY;
  return {
    ...PIP,
    ...(OLD_PIPS.some((name) => name === client) ? PIP_BY_WHEEL : PIP_BY_METADATA),
    ...(client === 'pip newest' ? PIP_NEWEST : {}),
  };
}

/** Has a client do one of its checks; in all of it, it may ask the server for nothing that it doesn't need. */
export async function perform(check: Check, client: Client, server: ServedBy, shelf: Shelf): Promise<void> {
  const session = await Session.open(client, server, shelf);
  try {
    await check(session);
    const strays = (await session.strays()).filter((one) => one !== `GET /simple/${MISSING}/ 404`);
    deepStrictEqual(strays, [], 'requests for what is not there, or for what nobody needs');
  } finally {
    session.close();
  }
}

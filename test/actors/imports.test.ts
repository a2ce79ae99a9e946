import t from 'tap';
import type { FarmClients } from '../../actors/mr-chase/farm-clients.js';
import { Imports } from '../../actors/mr-chase/imports.js';
import { systemClock } from '../../src/concurrency/clock.js';
import { PiwError, hasCode } from '../../src/errors.js';
import { createLog } from '../../src/log.js';
import { fileToMessage } from '../../src/model/file-state.js';
import { PLATFORM } from '../helpers/rows.js';
import { storedWheel } from '../helpers/stored-wheel.js';

/** Imports a wheel while the answer to the first LOGBUILD is lost. Returns the answer, and how often it was logged. */
async function importWithLostAnswer(isLogged: boolean): Promise<{ verb: string; logged: number }> {
  const { file } = storedWheel('demo', '1.0', Buffer.from('x'));
  let attempts = 0;
  let logged = 0;
  const answers: Record<string, () => unknown> = {
    GETABIS: () => ({ targets: [{ abi: 'cp311', platform: PLATFORM }] }),
    PROJECT: () => ({
      project: {
        files:
          logged === 0
            ? []
            : [
                {
                  version: '1.0',
                  sha256: file.filehash,
                  filename: file.filename,
                  serves: [['cp311', PLATFORM]],
                },
              ],
      },
    }),
    EXPECT: () => ({ transfer_id: 'x' }),
    GETSTAMP: () => ({ file_stamp: { stamp: 's', age_s: 1 } }),
    PUBLISHED: () => ({ files: [] }),
    VERIFY: () => ({ verb: 'VERIFIED', metadata_sha256: 'm', core_metadata: null, filename: file.filename }),
    LOGBUILD: () => {
      attempts += 1;
      if (attempts > 1 || isLogged) logged += 1;
      if (attempts === 1) throw new PiwError('PIW_DISCONNECTED', 'the connection to NATS broke');
      return {};
    },
  };
  const client = {
    request: (verb: string) => Promise.resolve().then(() => answers[verb]?.() ?? {}),
  };
  const farm = { oracle: client, files: client, secretary: client } as unknown as FarmClients;
  const imports = new Imports(farm, systemClock, createLog('mr-chase', 'error'));
  const request = {
    abi: 'cp311',
    package: 'demo',
    version: '1.0',
    status: true,
    duration_s: 1,
    output: '',
    files: [fileToMessage(file)],
  };
  await imports.begin(request, 'session');
  // The importer repeats its request, whose answer was lost, too.
  const [answer, repeated] = await Promise.allSettled([
    imports.sent(file.filename, 'session'),
    imports.sent(file.filename, 'session'),
  ]);
  if (answer.status === 'rejected') throw answer.reason;
  // It begins again, and is told that all is published.
  if (repeated.status !== 'rejected' || !hasCode(repeated.reason, 'PIW_UNKNOWN_TRANSFER'))
    throw new Error('the import was still known');
  return { verb: answer.value.verb, logged };
}

void t.test(
  'an import whose answer was lost is logged once, whether or not it was carried out',
  async (t) => {
    t.same(await importWithLostAnswer(true), { verb: 'DONE', logged: 1 });
    t.same(await importWithLostAnswer(false), { verb: 'DONE', logged: 1 });
  },
);

/** Debian 12's pip with a static server that doesn't know PEP 691, like many mirrors and caches. */
import t from 'tap';
import { orSkipReason } from '../helpers/missing.js';
import { findInstaller } from './installers.js';
import { startPythonServer } from './python-server.js';
import { InstallerSession } from './session.js';
import { makeShelf } from './shelf.js';

const TITLE = 'pip 23.0.1 installs Discord.Py and discord_py from a server that serves only HTML';

const client = await orSkipReason(() => findInstaller('pip 23.0.1'));
if (typeof client === 'string') void t.test(TITLE, { skip: client }, () => undefined);
else
  void t.test(TITLE, async (t) => {
    t.equal(client.version, '23.0.1');
    const shelf = await makeShelf();
    const server = await startPythonServer(client.python, shelf.output);
    t.teardown(() => server.stop());
    for (const name of ['Discord.Py', 'discord_py', 'discord-py']) {
      const session = await InstallerSession.open(client, server, shelf);
      const { code, output } = await session.run('install', '--index-url', session.index, name);
      t.equal(code, 0, `${name}: ${output}`);
      t.same(await session.installed(), { 'discord-py': '1.0' }, name);
      session.close();
    }
  });

/** A static server that knows nothing of PEP 691, as many mirrors and caches do, and the pip of Debian 12. */
import t from 'tap';
import { orSkipReason } from '../helpers/missing.js';
import { findInstaller } from './installers.js';
import { startPythonServer } from './python-server.js';
import { InstallerSession } from './session.js';
import { makeShelf } from './shelf.js';

const TITLE = 'pip 23.0.1 installs Discord.Py and discord_py from a server that hands out HTML only';

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

import t from 'tap';
import { piwRunner } from '../helpers/command.js';
import { orSkipReason } from '../helpers/missing.js';
import { makeOutputPath } from '../helpers/output-path.js';
import {
  WEB_SERVER_KINDS,
  serve,
  type WebServerKind,
  type RunningWebServer,
} from '../helpers/web-servers.js';

const output = await makeOutputPath();

const servers: [WebServerKind, RunningWebServer | string][] = [];
for (const kind of WEB_SERVER_KINDS) servers.push([kind, await orSkipReason(() => serve(kind, output))]);

for (const [kind, server] of servers) {
  const title = `piw check finds no fault in a site that ${kind} serves`;
  if (typeof server === 'string') {
    void t.test(title, { skip: server }, () => undefined);
    continue;
  }
  t.teardown(() => server.stop());
  void t.test(title, async (t) => {
    const piw = piwRunner({}, { ownProcess: true });
    // Node reads this variable once, when a process starts.
    process.env['NODE_EXTRA_CA_CERTS'] = server.ca ?? '';
    const { code, out, err } = await piw('check', `${server.url}/`);
    t.match({ code, err }, { code: 0, err: '' }, out);
    t.match(out, /^Checked 3 packages, \d+ items: 0 faults, 0 warnings\.\n$/);
  });
}

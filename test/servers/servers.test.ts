import { gunzipSync } from 'node:zlib';
import t from 'tap';
import { until } from '../helpers/bus.js';
import { programWith, runTasks } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';
import { orMissing } from '../helpers/missing.js';
import { someFiles } from '../helpers/web-log.js';
import { KINDS, serve, type Kind, type ServedBy } from '../helpers/web-servers.js';
import { ask, type Answer } from './ask.js';
import { makeOutput, WHEEL } from './output.js';
import { ESCAPES, JSON_TYPE, TABLE, type Expectation } from './table.js';

/** What differs from what a request is to be answered with, in words; empty if nothing does. */
function faults(expected: Expectation, kind: Kind, { status, headers, body }: Answer): string[] {
  const other = expected.unless?.[kind];
  if (other) return status === other[0] ? [] : [`status ${String(status)}, not ${String(other[0])}`];
  const found: string[] = [];
  const held = (what: string, is: string | undefined, wanted: string | RegExp | null): void => {
    const same = wanted instanceof RegExp ? wanted.test(is ?? '') : (is ?? null) === wanted;
    if (!same)
      found.push(`${what} is ${JSON.stringify(is?.slice(0, 200))}, not ${String(wanted).slice(0, 200)}`);
  };
  held('status', String(status), String(expected.status));
  if (expected.type !== undefined) held('type', headers['content-type'], expected.type);
  if (expected.body !== undefined) {
    const packed = headers['content-encoding'] === 'gzip' && body.length > 0;
    held('body', (packed ? gunzipSync(body) : body).toString(), expected.body);
  }
  if (expected.location !== undefined) {
    const location = headers.location;
    const path = location === undefined ? undefined : new URL(location, 'http://here').pathname;
    held('location', path?.replaceAll('%2B', '+'), expected.location);
  }
  for (const [name, wanted] of Object.entries(expected.with ?? {}))
    held(name, headers[name]?.toString(), wanted);
  return found;
}

const output = makeOutput();
const { db, dsn } = await testDatabase(t);
await someFiles(db, 'demo-pkg');
await db.query('update files set filename = $1', [WHEEL]);
const piw = programWith(runTasks(t, ['the-oracle', 'lumberjack'], { dsn }));

const servers: [Kind, ServedBy | string][] = [];
for (const kind of KINDS) servers.push([kind, await orMissing(() => serve(kind, output, piw))]);
for (const [kind, server] of servers) {
  if (typeof server === 'string') {
    void t.test(`${kind} serves an output path`, { skip: server }, () => undefined);
    continue;
  }
  t.teardown(() => server.stop());
  void t.test(`${[kind, server.version].join(' ').trim()} serves an output path`, async (t) => {
    const get = (path: string, options: Parameters<typeof ask>[3] = {}) =>
      ask(server.url, server.ca, path, options);

    await t.test(`${kind} answers each request as the table has it`, async (t) => {
      for (const expected of TABLE) {
        const { title, path, method = 'GET', headers = {} } = expected;
        t.same(faults(expected, kind, await get(path, { method, headers })), [], title);
      }
    });

    await t.test(`${kind} sends the same headers for safety as our own server`, async (t) => {
      const own = await serve('piw web', output);
      t.teardown(() => own.stop());
      for (const path of ['/', '/nothing', `/simple/demo-pkg/${WHEEL}`]) {
        const [ours, its] = [(await ask(own.url, own.ca, path)).headers, (await get(path)).headers];
        for (const name of ['content-security-policy', 'referrer-policy', 'x-content-type-options'])
          t.equal(its[name], ours[name] ?? 'none', `${name} of ${path}`);
      }
    });

    await t.test(`${kind} lets nothing out that is not under the output path`, async (t) => {
      for (const path of ESCAPES) {
        const { status, body } = await get(path);
        t.ok(status === 404 || status === 400, `${path}: ${String(status)}`);
        t.notMatch(body.toString(), 'root:', path);
      }
    });

    await t.test(`${kind} says that nothing has changed`, async (t) => {
      const wheel = `/simple/demo-pkg/${WHEEL}`;
      for (const [path, headers] of [
        [wheel, {}],
        ['/simple/demo-pkg/', { accept: JSON_TYPE }],
        ['/simple/demo-pkg/', { accept: JSON_TYPE, 'accept-encoding': 'gzip' }],
        ['/', {}],
        ['/logs/0000/000012.txt', { 'accept-encoding': 'gzip' }],
      ] as [string, Record<string, string>][]) {
        const what = `${path} ${JSON.stringify(headers)}`;
        const first = await get(path, { headers });
        const etag = String(first.headers.etag);
        const modified = String(first.headers['last-modified']);
        const later = new Date(Date.parse(modified) + 60_000).toUTCString();
        const earlier = new Date(Date.parse(modified) - 60_000).toUTCString();
        const status = async (more: Record<string, string>) =>
          (await get(path, { headers: { ...headers, ...more } })).status;
        const again = await get(path, { headers: { ...headers, 'if-none-match': etag } });
        t.match(again, { status: 304, body: Buffer.alloc(0) }, what);
        t.equal(again.headers.etag, etag, what);
        t.equal(again.headers['cache-control'], first.headers['cache-control'], what);
        t.equal(again.headers.vary, first.headers.vary, what);
        for (const [more, wanted] of [
          [{ 'if-none-match': `"x", W/${etag.replace(/^W\//, '')}` }, 304],
          [{ 'if-none-match': '*' }, 304],
          [{ 'if-none-match': '"another"' }, 200],
          [{ 'if-modified-since': modified }, 304],
          [{ 'if-modified-since': later }, 304],
          [{ 'if-modified-since': earlier }, 200],
          [{ 'if-none-match': '"another"', 'if-modified-since': later }, 200],
        ] as [Record<string, string>, number][])
          t.equal(await status(more), wanted, `${what} and ${JSON.stringify(more)}`);
      }
      const [json, html] = [
        await get('/simple/demo-pkg/', { headers: { accept: JSON_TYPE } }),
        await get('/simple/demo-pkg/'),
      ];
      t.not(json.headers.etag, html.headers.etag, 'each form has a tag of its own');
      const etag = String((await get(wheel)).headers.etag);
      const range = await get(wheel, { headers: { range: 'bytes=2-4', 'if-range': etag } });
      t.match(range, { status: 206, body: Buffer.from('234') }, 'the rest of what is still the same');
    });

    if (server.plainUrl !== undefined) {
      const plainUrl = server.plainUrl;
      await t.test(`${kind} sends who comes by http to https`, async (t) => {
        const answer = await ask(plainUrl, undefined, '/simple/Demo/?a=b');
        t.equal(answer.status, 302);
        t.match(answer.headers.location, /^https:\/\/localhost\/simple\/Demo\//);
      });
      await t.test(`${kind} has its downloads counted as its site file says`, async (t) => {
        for (const times of [1, 2]) {
          const agent = `${kind}/26.0 {"ci":null,"cpu":"armv7l"}`;
          await get(`/simple/demo-pkg/${WHEEL}`, { headers: { 'user-agent': agent } });
          await server.count();
          const counted = () =>
            db.query('select accessed_by, arch from downloads where installer_name = $1', [kind]);
          await until(async () => (await counted()).length >= times, 20_000);
          const row = { accessed_by: '127.0.0.1', arch: 'armv7l' };
          t.same(await counted(), times === 1 ? [row] : [row, row]);
        }
      });
    }
  });
}

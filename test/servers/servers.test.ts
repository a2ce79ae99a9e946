import { gunzipSync } from 'node:zlib';
import t from 'tap';
import { until } from '../helpers/bus.js';
import { writePiwScript, runTasks } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';
import { orSkipReason } from '../helpers/missing.js';
import { insertPackages } from '../helpers/web-log.js';
import {
  WEB_SERVER_KINDS,
  serve,
  type WebServerKind,
  type RunningWebServer,
} from '../helpers/web-servers.js';
import { sendRequest, type ServerAnswer } from './send-request.js';
import { makeOutput, WHEEL } from './output.js';
import { TRAVERSAL_PATHS, JSON_TYPE, EXPECTATIONS, type Expectation } from './table.js';

/** Returns the differences between an answer and the expected one, in words; empty if there are none. */
function compareAnswer(
  expected: Expectation,
  kind: WebServerKind,
  { status, headers, body }: ServerAnswer,
): string[] {
  const exception = expected.unless?.[kind];
  if (exception) return status === exception[0] ? [] : [`status ${status}, not ${exception[0]}`];
  const differences: string[] = [];
  const check = (label: string, actual: string | undefined, wanted: string | RegExp | null): void => {
    const matches = wanted instanceof RegExp ? wanted.test(actual ?? '') : (actual ?? null) === wanted;
    if (!matches)
      differences.push(
        `${label} is ${JSON.stringify(actual?.slice(0, 200))}, not ${String(wanted).slice(0, 200)}`,
      );
  };
  check('status', String(status), String(expected.status));
  if (expected.type !== undefined) check('type', headers['content-type'], expected.type);
  if (expected.body !== undefined) {
    const isCompressed = headers['content-encoding'] === 'gzip' && body.length > 0;
    check('body', (isCompressed ? gunzipSync(body) : body).toString(), expected.body);
  }
  if (expected.location !== undefined) {
    const location = headers.location;
    const path = location === undefined ? undefined : new URL(location, 'http://here').pathname;
    check('location', path?.replaceAll('%2B', '+'), expected.location);
  }
  for (const [name, wanted] of Object.entries(expected.with ?? {}))
    check(name, headers[name]?.toString(), wanted);
  return differences;
}

const output = makeOutput();
const { db, dsn } = await testDatabase(t);
await insertPackages(db, 'demo-pkg');
await db.query('update files set filename = $1', [WHEEL]);
const piw = writePiwScript(runTasks(t, ['the-oracle', 'lumberjack'], { dsn }));

const servers: [WebServerKind, RunningWebServer | string][] = [];
for (const kind of WEB_SERVER_KINDS) servers.push([kind, await orSkipReason(() => serve(kind, output, piw))]);
for (const [kind, server] of servers) {
  if (typeof server === 'string') {
    void t.test(`${kind} serves an output path`, { skip: server }, () => undefined);
    continue;
  }
  t.teardown(() => server.stop());
  void t.test(`${[kind, server.version].join(' ').trim()} serves an output path`, async (t) => {
    const get = (path: string, options: Parameters<typeof sendRequest>[3] = {}) =>
      sendRequest(server.url, server.ca, path, options);

    await t.test(`${kind} answers each request as the table expects`, async (t) => {
      for (const expected of EXPECTATIONS) {
        const { title, path, method = 'GET', headers = {} } = expected;
        t.same(compareAnswer(expected, kind, await get(path, { method, headers })), [], title);
      }
    });

    await t.test(`${kind} sends the same security headers as our own server`, async (t) => {
      const own = await serve('piw web', output);
      t.teardown(() => own.stop());
      for (const path of ['/', '/nothing', `/simple/demo-pkg/${WHEEL}`]) {
        const [ownHeaders, serverHeaders] = [
          (await sendRequest(own.url, own.ca, path)).headers,
          (await get(path)).headers,
        ];
        for (const name of ['content-security-policy', 'referrer-policy', 'x-content-type-options'])
          t.equal(serverHeaders[name], ownHeaders[name] ?? 'none', `${name} of ${path}`);
      }
    });

    await t.test(`${kind} serves nothing outside of the output path`, async (t) => {
      for (const path of TRAVERSAL_PATHS) {
        const { status, body } = await get(path);
        t.ok(status === 404 || status === 400, `${path}: ${status}`);
        t.notMatch(body.toString(), 'root:', path);
      }
    });

    await t.test(`${kind} answers conditional requests`, async (t) => {
      const wheel = `/simple/demo-pkg/${WHEEL}`;
      for (const [path, headers] of [
        [wheel, {}],
        ['/simple/demo-pkg/', { accept: JSON_TYPE }],
        ['/simple/demo-pkg/', { accept: JSON_TYPE, 'accept-encoding': 'gzip' }],
        ['/', {}],
        ['/logs/0000/000012.txt', { 'accept-encoding': 'gzip' }],
      ] as [string, Record<string, string>][]) {
        const label = `${path} ${JSON.stringify(headers)}`;
        const first = await get(path, { headers });
        const etag = String(first.headers.etag);
        const modified = String(first.headers['last-modified']);
        const later = new Date(Date.parse(modified) + 60_000).toUTCString();
        const earlier = new Date(Date.parse(modified) - 60_000).toUTCString();
        const status = async (conditions: Record<string, string>) =>
          (await get(path, { headers: { ...headers, ...conditions } })).status;
        const revalidated = await get(path, { headers: { ...headers, 'if-none-match': etag } });
        t.match(revalidated, { status: 304, body: Buffer.alloc(0) }, label);
        t.equal(revalidated.headers.etag, etag, label);
        t.equal(revalidated.headers['cache-control'], first.headers['cache-control'], label);
        t.equal(revalidated.headers.vary, first.headers.vary, label);
        for (const [conditions, wanted] of [
          [{ 'if-none-match': `"x", W/${etag.replace(/^W\//, '')}` }, 304],
          [{ 'if-none-match': '*' }, 304],
          [{ 'if-none-match': '"another"' }, 200],
          [{ 'if-modified-since': modified }, 304],
          [{ 'if-modified-since': later }, 304],
          [{ 'if-modified-since': earlier }, 200],
          [{ 'if-none-match': '"another"', 'if-modified-since': later }, 200],
        ] as [Record<string, string>, number][])
          t.equal(await status(conditions), wanted, `${label} and ${JSON.stringify(conditions)}`);
      }
      const [json, html] = [
        await get('/simple/demo-pkg/', { headers: { accept: JSON_TYPE } }),
        await get('/simple/demo-pkg/'),
      ];
      t.not(json.headers.etag, html.headers.etag, 'each form has an ETag of its own');
      const etag = String((await get(wheel)).headers.etag);
      const range = await get(wheel, { headers: { range: 'bytes=2-4', 'if-range': etag } });
      t.match(range, { status: 206, body: Buffer.from('234') }, 'a range of an unchanged file');
    });

    if (server.httpUrl !== undefined) {
      const plainUrl = server.httpUrl;
      await t.test(`${kind} redirects http to https`, async (t) => {
        const answer = await sendRequest(plainUrl, undefined, '/simple/Demo/?a=b');
        t.equal(answer.status, 302);
        t.match(answer.headers.location, /^https:\/\/localhost\/simple\/Demo\//);
      });
      await t.test(`the downloads of ${kind} are counted with its configuration`, async (t) => {
        for (const times of [1, 2]) {
          const agent = `${kind}/26.0 {"ci":null,"cpu":"armv7l"}`;
          await get(`/simple/demo-pkg/${WHEEL}`, { headers: { 'user-agent': agent } });
          await server.passLogToLogger();
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

import { execFile, spawnSync } from 'node:child_process';
import { request, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { FakePypi, World, normaliseName, randomWorld, type FakePypiOptions } from './fake-pypi.js';

const run = promisify(execFile);
const JSON_TYPE = 'application/vnd.pypi.simple.v1+json';

async function startPypi(t: Test, world: World, options: FakePypiOptions = {}): Promise<FakePypi> {
  const pypi = await FakePypi.start(world, options);
  t.teardown(() => pypi.close());
  return pypi;
}

/** Returns a world with one project, whose one release has an sdist and a wheel. */
function smallWorld(): World {
  const world = new World({ serial: 100 });
  world.create('My.Package');
  world.newRelease('my-package', '1.0');
  world.tick(60);
  world.addFile('my-package', '1.0', 'My.Package-1.0.tar.gz', { kind: 'sdist', requiresPython: '>=3.8' });
  world.addFile('My_Package', '1.0', 'my_package-1.0-py3-none-any.whl', { kind: 'wheel' });
  return world;
}

const getJson = async (pypi: FakePypi, path: string, accept = JSON_TYPE): Promise<Record<string, unknown>> =>
  (await (await fetch(pypi.url + path, { headers: { accept } })).json()) as Record<string, unknown>;

async function xmlRpc(pypi: FakePypi, method: string, serial?: number): Promise<string> {
  const params =
    serial === undefined ? '' : `<params><param><value><int>${serial}</int></value></param></params>`;
  const body = `<?xml version='1.0'?><methodCall><methodName>${method}</methodName>${params}</methodCall>`;
  const response = await fetch(`${pypi.url}/pypi`, { method: 'POST', body });
  return response.text();
}

/** Returns the serials of the events in an answer's XML. */
const serialsIn = (xml: string): number[] =>
  [...xml.matchAll(/<int>(\d+)<\/int><\/value>\n<\/data>/g)].map(([, serial]) => Number(serial));

const serialsSince = async (pypi: FakePypi, serial: number): Promise<number[]> =>
  serialsIn(await xmlRpc(pypi, 'changelog_since_serial', serial));

void t.test('the changelog has the same events as PyPI’s', (t) => {
  const world = smallWorld();
  world.yankRelease('my-package', '1.0', 'broken');
  world.unyankRelease('my-package', '1.0');
  world.quarantineRelease('my-package', '1.0');
  world.unquarantineRelease('my-package', '1.0');
  world.setStatus('my-package', 'archived');
  world.quarantineProject('my-package');
  t.throws(() => world.newRelease('my-package', '2.0'), /quarantined/);
  world.unquarantineProject('my-package');
  world.logEvent('my-package', 'add Owner someone');
  world.removeFile('my-package', '1.0', 'my_package-1.0-py3-none-any.whl');
  world.removeRelease('my-package', '1.0');
  world.removeProject('my-package');
  world.create('my-package');
  const first = Date.UTC(2024, 0, 1) / 1000;
  t.strictSame(world.events.slice(0, 4), [
    ['My.Package', null, first, 'create', 101],
    ['My.Package', '1.0', first, 'new release', 102],
    ['My.Package', '1.0', first + 60, 'add source file My.Package-1.0.tar.gz', 103],
    ['My.Package', '1.0', first + 60, 'add py3 file my_package-1.0-py3-none-any.whl', 104],
  ]);
  t.strictSame(
    world.events.slice(4).map(([name, version, , action]) => [name, version, action]),
    [
      ['My.Package', '1.0', 'yank release'],
      ['My.Package', '1.0', 'unyank release'],
      ['My.Package', '1.0', 'release quarantined'],
      ['My.Package', '1.0', 'release quarantine cleared'],
      ['My.Package', null, 'project quarantined'],
      ['My.Package', null, 'project quarantine cleared'],
      ['My.Package', null, 'add Owner someone'],
      ['My.Package', '1.0', 'remove file my_package-1.0-py3-none-any.whl'],
      ['My.Package', '1.0', 'remove release'],
      ['My.Package', null, 'remove project'],
      ['my-package', null, 'create'],
    ],
  );
  t.strictSame([...world.expectedProjects()], [['my-package', { status: 'active', versions: new Map() }]]);
  t.end();
});

void t.test('the expected data of a release come from its files', (t) => {
  const world = smallWorld();
  world.yankRelease('my-package', '1.0');
  const file = world.release('my-package', '1.0').files.get('My.Package-1.0.tar.gz');
  t.strictSame(world.expectedProjects().get('my-package')?.versions.get('1.0'), {
    released: new Date(Date.UTC(2024, 0, 1, 0, 1)),
    has_sdist: true,
    sdist_url: file?.url,
    sdist_sha256: file?.sha256,
    requires_python: '>=3.8',
    yanked: '',
    quarantined: false,
  });
  t.end();
});

void t.test('a random history is determined by its seed, and contains every kind of event', (t) => {
  const world = randomWorld(7, 3000);
  t.strictSame(randomWorld(7, 3000).events, world.events);
  t.strictSame(randomWorld(7, 3000).expectedProjects(), world.expectedProjects());
  t.not(String(randomWorld(8, 3000).events), String(world.events));
  const actions = new Set(world.events.map(([, , , action]) => action.replace(/ file .*/, ' file F')));
  for (const action of [
    'create',
    'new release',
    'add source file F',
    'add cp311 file F',
    'add py3 file F',
    'remove file F',
    'remove release',
    'remove project',
    'yank release',
    'unyank release',
    'project quarantined',
    'project quarantine cleared',
    'release quarantined',
    'release quarantine cleared',
    'add Owner someone',
    'docupdate',
  ])
    t.ok(actions.has(action), action);
  const projects = [...world.projects.values()];
  const sizes = projects.map(({ releases }) => releases.size).sort((a, b) => b - a);
  const top = sizes.slice(0, Math.ceil(sizes.length / 10)).reduce((sum, size) => sum + size, 0);
  t.ok(
    top * 3 > sizes.reduce((sum, size) => sum + size, 0),
    'a tenth of the projects have a third of the releases',
  );
  t.ok(projects.some(({ status }) => status === 'quarantined'));
  t.ok(projects.some(({ status }) => status === 'archived'));
  t.ok(projects.some(({ name }) => name !== normaliseName(name)));
  const names = world.events
    .filter(([, , , action]) => action === 'create')
    .map(([name]) => normaliseName(name));
  t.ok(new Set(names).size < names.length, 'some project is created again');
  t.end();
});

void t.test('replaying the changelog in order yields the expected projects', (t) => {
  const world = randomWorld(11, 3000, { gaps: 0.1, disorder: 300 });
  const replay = new Map<
    string,
    { quarantined: boolean; versions: Map<string, Set<string>>; flags: Set<string> }
  >();
  for (const [name, version, , action] of world.events) {
    const key = normaliseName(name);
    const project = replay.get(key);
    const files = project?.versions.get(version ?? '');
    const file = / file (.*)$/.exec(action)?.[1] ?? '';
    if (action === 'create') replay.set(key, { quarantined: false, versions: new Map(), flags: new Set() });
    else if (action === 'remove project') replay.delete(key);
    else if (action.startsWith('project quarantine')) {
      if (project) project.quarantined = action.endsWith('quarantined');
    } else if (action === 'new release') project?.versions.set(version ?? '', new Set());
    else if (action === 'remove release') {
      project?.versions.delete(version ?? '');
      project?.flags.delete(`yank ${String(version)}`);
      project?.flags.delete(`quarantine ${String(version)}`);
    } else if (action === 'yank release') project?.flags.add(`yank ${String(version)}`);
    else if (action === 'unyank release') project?.flags.delete(`yank ${String(version)}`);
    else if (action === 'release quarantined') project?.flags.add(`quarantine ${String(version)}`);
    else if (action === 'release quarantine cleared') project?.flags.delete(`quarantine ${String(version)}`);
    else if (action.startsWith('remove file')) files?.delete(file);
    else if (/^add \S+ file /.test(action)) files?.add(file);
  }
  const replayed = [...replay].map(([name, { quarantined, versions, flags }]) => [
    name,
    quarantined,
    [...versions].map(([version, files]) => [
      version,
      [...files].some((file) => !file.endsWith('.whl')),
      files.size > 0,
      flags.has(`yank ${version}`),
      flags.has(`quarantine ${version}`),
    ]),
  ]);
  const expectedProjects = [...world.expectedProjects()].map(([name, { status, versions }]) => [
    name,
    status === 'quarantined',
    [...versions].map(([version, expected]) => [
      version,
      expected.has_sdist,
      expected.released !== null,
      expected.yanked !== null,
      expected.quarantined,
    ]),
  ]);
  t.strictSame(replayed, expectedProjects);
  t.end();
});

const XMLRPC_SCRIPT = `
import json, sys, xmlrpc.client
pypi = xmlrpc.client.ServerProxy(sys.argv[1])
result = {"last": pypi.changelog_last_serial(), "events": pypi.changelog_since_serial(0)}
try:
    pypi.no_such_method()
except xmlrpc.client.Fault as fault:
    result["fault"] = fault.faultCode
try:
    while True:
        pypi.changelog_last_serial()
except xmlrpc.client.Fault as fault:
    result["throttled"] = [fault.faultCode, fault.faultString]
print(json.dumps(result))
`;

const SKIP_XMLRPC =
  spawnSync('python3', ['-c', 'import xmlrpc.client']).status !== 0 && 'needs python3 with xmlrpc.client';

void t.test("Python's xmlrpc.client can read the changelog", { skip: SKIP_XMLRPC }, async (t) => {
  const world = randomWorld(3, 400, { gaps: 0.2 });
  world.create('a-b');
  world.newRelease('a-b', '1.0 <&> "ü"');
  const pypi = await startPypi(t, world, { misbehaviour: { throttle: 4 } });
  const { stdout } = await run('python3', ['-c', XMLRPC_SCRIPT, `${pypi.url}/pypi`], { maxBuffer: 1 << 24 });
  const parsed = JSON.parse(stdout) as Record<string, unknown>;
  t.equal(parsed['last'], world.serial);
  t.strictSame(parsed['events'], world.events);
  t.equal(parsed['fault'], -32601);
  t.match(parsed['throttled'], [
    -32500,
    /^HTTPTooManyRequests: The action .* Limit may reset in 1 seconds\.$/,
  ]);
});

void t.test('the changelog is paged, and ends at the last visible serial', async (t) => {
  const pypi = await startPypi(t, smallWorld(), { pageSize: 2, visible: 101 });
  t.strictSame(await serialsSince(pypi, 0), [101]);
  t.equal(pypi.advance(2), 103);
  t.match(await xmlRpc(pypi, 'changelog_last_serial'), '<int>103</int>');
  t.strictSame(await serialsSince(pypi, 0), [101, 102]);
  t.strictSame(await serialsSince(pypi, 102), [103]);
  t.equal(pypi.advance(100), 104);
  t.match(pypi.requests.at(-1), {
    method: 'POST',
    path: '/pypi',
    call: 'changelog_since_serial(102)',
    status: 200,
    fault: null,
  });
});

void t.test('the version of an event without one is nil or empty', async (t) => {
  const world = smallWorld();
  t.match(await xmlRpc(await startPypi(t, world), 'changelog_since_serial', 0), '<value><nil/></value>');
  const empty = await xmlRpc(await startPypi(t, world, { noVersion: 'empty' }), 'changelog_since_serial', 0);
  t.notMatch(empty, '<nil/>');
  t.match(empty, '<value><string></string></value>');
});

void t.test('the JSON API has the same fields as PyPI’s', async (t) => {
  const world = smallWorld();
  world.yankRelease('my-package', '1.0', 'broken');
  const pypi = await startPypi(t, world);
  const response = await fetch(`${pypi.url}/pypi/My.Package/json`);
  t.equal(response.url, `${pypi.url}/pypi/my-package/json`);
  t.equal(response.headers.get('content-type'), 'application/json');
  t.equal(response.headers.get('x-pypi-last-serial'), '105');
  t.ok(response.headers.get('etag'));
  const sdist = world.release('my-package', '1.0').files.get('My.Package-1.0.tar.gz');
  t.match(await response.json(), {
    info: {
      name: 'My.Package',
      version: '1.0',
      requires_python: '>=3.8',
      yanked: true,
      yanked_reason: 'broken',
    },
    last_serial: 105,
    releases: {
      '1.0': [
        {
          filename: 'My.Package-1.0.tar.gz',
          packagetype: 'sdist',
          python_version: 'source',
          url: sdist?.url,
          digests: { sha256: sdist?.sha256 },
          size: sdist?.size,
          requires_python: '>=3.8',
          upload_time_iso_8601: '2024-01-01T00:01:00.000000Z',
          yanked: true,
          yanked_reason: 'broken',
        },
        { packagetype: 'bdist_wheel' },
      ],
    },
    urls: [{ packagetype: 'sdist' }, { packagetype: 'bdist_wheel' }],
  });
  world.quarantineRelease('my-package', '1.0');
  t.equal((await fetch(`${pypi.url}/pypi/my-package/json`)).status, 404, 'no release is left');
  world.removeProject('my-package');
  const notFound = await fetch(`${pypi.url}/pypi/my-package/json`);
  t.equal(notFound.status, 404);
  t.strictSame(await notFound.json(), { message: 'Not Found' });
});

void t.test('the simple API offers JSON with serials', async (t) => {
  const world = smallWorld();
  world.create('other');
  const pypi = await startPypi(t, world);
  t.match(await getJson(pypi, '/simple/'), {
    meta: { 'api-version': '1.4', '_last-serial': 105 },
    projects: [
      { name: 'My.Package', '_last-serial': 104 },
      { name: 'other', '_last-serial': 105 },
    ],
  });
  t.match(await getJson(pypi, '/simple/My.Package'), {
    meta: { '_last-serial': 104 },
    name: 'my-package',
    versions: ['1.0'],
    'project-status': { status: 'active' },
    files: [
      {
        filename: 'My.Package-1.0.tar.gz',
        hashes: { sha256: /^[0-9a-f]{64}$/ },
        'upload-time': '2024-01-01T00:01:00.000000Z',
        'requires-python': '>=3.8',
        yanked: false,
      },
      { filename: 'my_package-1.0-py3-none-any.whl' },
    ],
  });
  world.yankRelease('my-package', '1.0');
  t.match(await getJson(pypi, '/simple/my-package/'), { files: [{ yanked: true }, { yanked: true }] });
  world.quarantineProject('my-package');
  t.match((await getJson(pypi, '/simple/'))['projects'], [{ name: 'other' }]);
  t.match(await getJson(pypi, '/simple/my-package/'), {
    files: [],
    'project-status': { status: 'quarantined' },
  });
  t.equal((await fetch(`${pypi.url}/simple/unknown/`)).status, 404);
});

void t.test('a request with the current ETag returns 304', async (t) => {
  const world = smallWorld();
  const pypi = await startPypi(t, world);
  for (const path of ['/simple/', '/simple/my-package/', '/pypi/my-package/json']) {
    const etag = (await fetch(pypi.url + path)).headers.get('etag') ?? '';
    const headers = { 'if-none-match': `"x", ${etag}` };
    t.equal((await fetch(pypi.url + path, { headers })).status, 304, path);
    world.logEvent('my-package', 'docupdate');
    t.equal((await fetch(pypi.url + path, { headers })).status, 200, path);
  }
});

void t.test('it can serve HTML only, without serials and ETags, like other indexes', async (t) => {
  const world = smallWorld();
  world.yankRelease('my-package', '1.0', 'say "<why>"');
  const pypi = await startPypi(t, world, { json: false, serials: false, etags: false, pypi: false });
  const response = await fetch(`${pypi.url}/simple/my_package/`, { headers: { accept: JSON_TYPE } });
  t.match(response.headers.get('content-type'), /^text\/html/);
  t.match(response.headers.get('vary'), /Accept/);
  t.equal(response.headers.get('etag'), null);
  t.equal(response.headers.get('x-pypi-last-serial'), null);
  const html = await response.text();
  t.match(html, 'data-requires-python="&gt;=3.8" data-yanked="say &#34;&lt;why&gt;&#34;"');
  t.notMatch(html, 'SERIAL');
  t.match(await (await fetch(`${pypi.url}/simple/`)).text(), '<a href="/simple/my-package/">My.Package</a>');
  t.equal((await fetch(`${pypi.url}/pypi/my-package/json`)).status, 404);
});

/** Reads page after page until there is nothing new; returns the serials in the order in which they came. */
async function readAllSerials(pypi: FakePypi, from = 0): Promise<number[]> {
  const collected: number[] = [];
  for (let last = from; ;) {
    const page = await serialsSince(pypi, last);
    collected.push(...page);
    const highest = Math.max(last, ...page);
    if (highest === last) return collected;
    last = highest;
  }
}

void t.test('faults can be injected into the next pages', async (t) => {
  const world = smallWorld();
  const pypi = await startPypi(t, world);
  const get = (path: string, init: RequestInit = {}): Promise<Response> =>
    fetch(pypi.url + path, { headers: { accept: JSON_TYPE }, ...init });
  const rootPage = await (await get('/simple/')).text();

  pypi.injectNext('throttle', 'serverError', 'htmlPage', 'truncatedJson', 'emptyRoot', 'serialBack');
  const throttled = await get('/simple/');
  t.equal(throttled.status, 429);
  t.equal(throttled.headers.get('retry-after'), '1');
  t.ok((await get('/simple/')).status >= 500);
  const errorPage = await get('/simple/');
  t.equal(errorPage.status, 200);
  t.match(errorPage.headers.get('content-type'), /^text\/html/);
  t.equal(await (await get('/simple/')).text(), rootPage.slice(0, Math.floor(rootPage.length / 2)));
  t.match(await (await get('/simple/')).json(), { meta: { '_last-serial': 104 }, projects: [] });
  t.match(await (await get('/simple/')).json(), { meta: { '_last-serial': 52 } });

  pypi.injectNext('cutBefore', 'cutMiddle', 'halfBody', 'hang');
  await t.rejects(get('/simple/'));
  await t.rejects((await get('/simple/')).text());
  const halfBody = await get('/simple/');
  t.equal(halfBody.headers.get('content-length'), String(rootPage.length));
  await t.rejects(halfBody.text());
  await t.rejects(get('/simple/', { signal: AbortSignal.timeout(50) }), { name: 'TimeoutError' });

  pypi.injectNext('stale');
  world.create('other');
  t.equal(await (await get('/simple/')).text(), rootPage);
  t.match(await (await get('/simple/')).text(), '"other"');
  t.equal(pypi.requests.filter(({ fault }) => fault !== null).length, 11);
});

void t.test('faults can be injected into the next answers of the changelog', async (t) => {
  const pypi = await startPypi(t, smallWorld());
  pypi.injectNext('emptyRoot', 'throttle', 'noEvents', 'cutXml', 'htmlPage');
  t.match(await xmlRpc(pypi, 'changelog_since_serial', 0), '<int>-32500</int>');
  t.strictSame(await serialsSince(pypi, 0), []);
  t.notMatch(await xmlRpc(pypi, 'changelog_since_serial', 0), '</methodResponse>');
  t.match(await xmlRpc(pypi, 'changelog_since_serial', 0), '<html>');
  t.strictSame(await serialsSince(pypi, 0), [101, 102, 103, 104]);
  pypi.injectNext('serialBack');
  t.notMatch(await xmlRpc(pypi, 'changelog_last_serial'), '<int>104</int>');
  t.match(await xmlRpc(pypi, 'changelog_last_serial'), '<int>104</int>');
  t.match(await getJson(pypi, '/simple/'), { projects: [] }, 'the fault of the root was still queued');
});

void t.test('random faults are the same for the same seed', async (t) => {
  const faultsWithSeed = async (seed: number): Promise<unknown[]> => {
    const misbehaviour = {
      seed,
      throttle: 7,
      serverError: 0.1,
      htmlPage: 0.1,
      truncatedJson: 0.2,
      cutBefore: 0.1,
    };
    const pypi = await startPypi(t, smallWorld(), { misbehaviour });
    for (let left = 100; left > 0; left -= 1)
      await fetch(`${pypi.url}/simple/`, { headers: { accept: JSON_TYPE } }).catch(() => undefined);
    return pypi.requests.map(({ fault }) => fault);
  };
  const first = await faultsWithSeed(1);
  t.strictSame(await faultsWithSeed(1), first);
  t.notSame(await faultsWithSeed(2), first);
  for (const fault of ['throttle', 'serverError', 'htmlPage', 'truncatedJson', 'cutBefore', null])
    t.ok(first.includes(fault), String(fault));
  t.equal(first[6], 'throttle');
});

void t.test('a reader reaches the end despite repeated events', async (t) => {
  const world = randomWorld(5, 100);
  const pypi = await startPypi(t, world, { pageSize: 7, misbehaviour: { duplicates: 0.4 } });
  const serialsRead = await readAllSerials(pypi);
  t.ok(new Set(serialsRead).size < serialsRead.length);
  t.ok(
    serialsRead.some((serial, index) => serialsRead.indexOf(serial) < index - 1),
    'some are repeated after others',
  );
  t.strictSame(
    [...new Set(serialsRead)].sort((a, b) => a - b),
    world.events.map((event) => event[4]),
  );
});

void t.test('a late event appears after higher ones, and only for readers that look back', async (t) => {
  const world = randomWorld(5, 100);
  const allSerials = world.events.map((event) => event[4]);
  const pypi = await startPypi(t, world, { misbehaviour: { late: 0.2, lateFor: 4 } });
  const first = await serialsSince(pypi, 0);
  t.ok(first.length < allSerials.length);
  const sizes = [first.length];
  while ((sizes.at(-1) ?? 0) < allSerials.length && sizes.length < 10)
    sizes.push((await serialsSince(pypi, 0)).length);
  t.equal(sizes.at(-1), allSerials.length);
  t.ok(new Set(sizes).size > 2, 'late events do not all appear at once');
  pypi.setFaults({ late: 1 });
  t.equal((await serialsSince(pypi, 0)).length, allSerials.length, 'events that were shown stay visible');
  world.create('another');
  t.equal((await serialsSince(pypi, 0)).length, allSerials.length);
  t.match(await xmlRpc(pypi, 'changelog_last_serial'), `<int>${String(allSerials.at(-1))}</int>`);
  pypi.stopMisbehaving();
  t.equal((await serialsSince(pypi, 0)).length, allSerials.length + 1);
});

void t.test('timestamps may be out of order, and the expected data follow the timestamps', async (t) => {
  const world = randomWorld(5, 300);
  const before = world.events.map((event) => event[2]);
  t.ok(before.every((time, index) => time >= (before[index - 1] ?? 0)));
  const pypi = await startPypi(t, world, { misbehaviour: { disorder: 600, gaps: 0.5 } });
  const after = world.events.map((event) => event[2]);
  t.notOk(after.every((time, index) => time >= (after[index - 1] ?? 0)));
  t.ok(after.every((time, index) => time <= (before[index] ?? 0) && time >= (before[index] ?? 0) - 600));
  const uploads = new Map(world.events.map(([, , time, action]) => [action, time]));
  for (const { name, releases } of world.projects.values()) {
    for (const [version, { files }] of releases) {
      const times = [...files.values()].map(
        ({ pyver, filename }) => uploads.get(`add ${pyver} file ${filename}`) ?? 0,
      );
      const released = world.expectedProjects().get(normaliseName(name))?.versions.get(version)?.released;
      if (times.length > 0) t.equal(released?.getTime(), Math.min(...times) * 1000);
    }
  }
  const last = world.serial;
  for (let number = 0; number < 20; number += 1) world.create(`new-${number}`);
  t.ok(world.serial > last + 20, 'some serials are skipped');
  t.strictSame(
    await readAllSerials(pypi),
    world.events.map((event) => event[4]),
  );
});

void t.test(
  'a request that begins before a release and is answered after it is recorded when it is answered',
  async (t) => {
    const world = smallWorld();
    const pypi = await startPypi(t, world);
    const body = `<?xml version='1.0'?><methodCall><methodName>changelog_last_serial</methodName></methodCall>`;
    const pendingRequest = request(`${pypi.url}/pypi`, {
      method: 'POST',
      headers: { 'content-length': body.length },
    });
    const response = new Promise<IncomingMessage>((resolve) => pendingRequest.once('response', resolve));
    pendingRequest.flushHeaders();
    // When this request is answered, the server has read the headers of the pending one.
    await xmlRpc(pypi, 'changelog_last_serial');
    const requestsBefore = pypi.requests.length;
    world.newRelease('my-package', '2.0');
    pendingRequest.end(body);
    t.match(await text(await response), `<int>${world.serial}</int>`);
    t.strictSame(
      pypi.requests.slice(requestsBefore).map(({ call }) => call),
      ['changelog_last_serial()'],
    );
  },
);

import t from 'tap';
import { resolveIndexAccess, redactSecrets } from '../../src/builder/access.js';
import { packFixture } from '../helpers/sdist.js';
import { IndexServer } from './index-server.js';
import { createTestBuilder } from './workshop.js';

const baseOptions = { extraIndexUrl: null, env: {}, pythonVersion: '3.11.7' };

t.test('an index’s password reaches both pips, but neither arguments nor the log', async (t) => {
  const password = 's3cr3t/@:w"o\'rd';
  const index = await IndexServer.start([packFixture('spies'), packFixture('watched')], {
    login: { user: 'me', password },
  });
  t.teardown(() => index.stop());
  const { builder, request } = createTestBuilder(t, index.url);
  const lines: string[] = [];
  const result = await builder.build(request('spies', { onLine: (line) => void lines.push(line) }));
  t.ok(result.status, result.output);
  // A redacted password would appear as ****.
  const started = lines.filter((line) => line.includes('started as'));
  t.match(started.join('\n'), `-i http://127.0.0.1:${index.port}/simple`);
  t.notMatch(started.join('\n'), '****');
  t.match(result.output, /netrc machine 127\.0\.0\.1 login "?me"? password "?\*{4}"?$/m);
  for (const text of [result.output, lines.join('\n')]) {
    t.notMatch(text, password);
    t.notMatch(text, 's3cr3t');
    t.notMatch(text, encodeURIComponent(password));
  }
});

t.test('a wrong password is a failure of the index, not of the package', async (t) => {
  const login = { user: 'me', password: 'right' };
  const index = await IndexServer.start([packFixture('plain')], { login });
  t.teardown(() => index.stop());
  const { builder, request } = createTestBuilder(t, index.url.replace('right', 'wrong'));
  const result = await builder.build(request('plain'));
  t.match(result, { status: false, failureClass: 'index' });
  t.match(result.output, /\npiw: .* status 401: .*\n$/);
});

t.test('an index that answers with an error does not count as one without the package', async (t) => {
  const index = await IndexServer.start([], { status: 503 });
  t.teardown(() => index.stop());
  const { builder, request } = createTestBuilder(t, index.url);
  const result = await builder.build(request('plain'));
  t.match(result, { status: false, failureClass: 'index' });
  t.match(result.output, /\npiw: .* status 503\n$/);
});

t.test('an index that is down is a network failure', async (t) => {
  const index = await IndexServer.start([]);
  const { url } = index;
  await index.stop();
  const { builder, request } = createTestBuilder(t, url);
  t.match(await builder.build(request('plain')), { status: false, failureClass: 'network' });
});

t.test('passwords are removed from addresses, and plain http hosts are trusted by name', (t) => {
  const access = resolveIndexAccess({
    ...baseOptions,
    indexUrl: 'https://me:pa%2Fss@index.example/simple',
    extraIndexUrl: 'http://10.0.0.1:8080/simple https://farm.example/simple/',
    env: {
      PIP_EXTRA_INDEX_URL: 'https://index.example/other  https://t0ken@third.example/',
      PIP_TRUSTED_HOST: 'a.example',
    },
  });
  t.strictSame(access.indexUrl, 'https://index.example/simple');
  t.strictSame(access.extraIndexUrls, [
    'http://10.0.0.1:8080/simple',
    'https://farm.example/simple/',
    'https://index.example/other',
    'https://third.example/',
  ]);
  t.strictSame(access.trustedHosts, ['a.example', '10.0.0.1:8080']);
  t.strictSame(
    access.netrc,
    'machine index.example login "me" password "pa/ss"\nmachine third.example login "t0ken" password ""\n',
  );
  t.strictSame([...access.secrets].sort(), ['pa%2Fss', 'pa/ss', 't0ken']);
  t.end();
});

t.test('a login that a .netrc cannot express is refused', (t) => {
  const refused = (overrides: Partial<Parameters<typeof resolveIndexAccess>[0]>) => {
    t.throws(() => resolveIndexAccess({ ...baseOptions, indexUrl: 'https://a:b@i.example/', ...overrides }), {
      code: 'PIW_CONFIG',
    });
  };
  refused({ extraIndexUrl: 'https://c:d@i.example/' });
  refused({ indexUrl: 'https://a:with%20space@i.example/', pythonVersion: '3.10.13' });
  refused({ indexUrl: 'https://token@i.example/', pythonVersion: '3.9.2' });
  refused({ indexUrl: 'https://a:line%0Amachine@i.example/' });
  t.end();
});

t.test('a proxy’s password is redacted, too', (t) => {
  const { secrets } = resolveIndexAccess({
    ...baseOptions,
    indexUrl: 'https://i.example/',
    env: { HTTPS_PROXY: 'http://me:hunter22@proxy.example:3128' },
  });
  t.equal(
    redactSecrets('via http://me:hunter22@proxy.example:3128 with hunter22, from http://x:y@z/', secrets),
    'via http://****@proxy.example:3128 with ****, from http://****@z/',
  );
  t.end();
});

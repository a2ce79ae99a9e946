import { mkdtempSync, renameSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { CountryDatabase, HostResolver } from '../../src/weblog/hosts.js';
import { buildMmdb } from '../helpers/mmdb.js';

const folder = mkdtempSync(join(tmpdir(), 'piw-geoip-'));

void t.test('the country of an address comes from the configured database', async (t) => {
  const file = join(folder, 'countries.mmdb');
  writeFileSync(file, buildMmdb({ '192.0.2.0/24': 'GB', '198.51.100.0/24': 'DE', '2001:db8::/32': 'JP' }));
  const countries = await CountryDatabase.open(file);
  const hosts = new HostResolver('keep', countries);
  t.same(hosts.resolve('192.0.2.77'), ['192.0.2.77', 'GB']);
  t.same(hosts.resolve('198.51.100.1'), ['198.51.100.1', 'DE']);
  t.same(hosts.resolve('2001:db8::5'), ['2001:db8::5', 'JP']);
  t.same(hosts.resolve('203.0.113.1'), ['203.0.113.1', null]);
  t.same(hosts.resolve('host.example'), ['host.example', null]);
  t.same(new HostResolver('drop', countries).resolve('192.0.2.77'), [null, 'GB']);
  t.same(new HostResolver('keep').resolve('192.0.2.77'), ['192.0.2.77', null]);
  // Replace the file as geoipupdate does.
  writeFileSync(`${file}.new`, buildMmdb({ '192.0.2.0/24': 'FR' }));
  renameSync(`${file}.new`, file);
  await countries.refresh();
  t.same(hosts.resolve('192.0.2.77'), ['192.0.2.77', 'FR']);
  writeFileSync(file, 'no database');
  await countries.refresh();
  t.same(hosts.resolve('192.0.2.77'), ['192.0.2.77', 'FR'], 'an invalid file changes nothing');
});

void t.test('a file that is not a database is rejected', async (t) => {
  const file = join(folder, 'none.mmdb');
  writeFileSync(file, 'no database');
  await t.rejects(CountryDatabase.open(file), { code: 'PIW_CONFIG', message: /none\.mmdb/ });
  await t.rejects(CountryDatabase.open(join(folder, 'nowhere')), { code: 'PIW_CONFIG' });
});

void t.test('an address is truncated to its network, or dropped, as configured', (t) => {
  const networks = new HostResolver('truncate');
  const expected: Readonly<Record<string, string>> = {
    '192.0.2.77': '192.0.2.0',
    '::ffff:192.0.2.77': '192.0.2.0',
    '2001:db8:1:2:3:4:5:6': '2001:db8:1::',
    '2001:db8::1': '2001:db8::',
    '::1': '::',
    'fe80::1%eth0': 'fe80::',
    'a.b.example.org': 'example.org',
  };
  for (const [address, network] of Object.entries(expected))
    t.same(networks.resolve(address), [network, null], address);
  t.same(new HostResolver('drop').resolve('192.0.2.77'), [null, null]);
  t.same(new HostResolver('keep').resolve('-'), [null, null]);
  t.same(new HostResolver('keep').resolve('a\\x1b\u0007\\x00b'), ['a b', null]);
  t.end();
});

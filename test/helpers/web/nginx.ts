import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { debian } from '../debian.js';
import type { ServedBy } from './served-by.js';
import { filledIn, replaced, siteFile, type Site } from './site.js';
import { start } from './started.js';

/** Debian's nginx, with its main file and our site file. */
export async function nginx(site: Site): Promise<ServedBy> {
  const files = await debian(['nginx'], '/usr/sbin/nginx');
  const { folder, ports } = site;
  const ipv6 = await hasIpv6();
  const listen = (port: number, here: number): [string, string][] => [
    [`listen ${String(port)}`, `listen 127.0.0.1:${String(here)}`],
    [`listen [::]:${String(port)}`, ipv6 ? `listen [::1]:${String(here)}` : '# no IPv6 here: '],
  ];
  const text = replaced(siteFile('nginx/piwheels.conf'), [
    ...filledIn(site),
    ['unix:/run/nginx-piwheels.sock', `unix:${join(folder, 'names.sock')}`],
    ...listen(80, ports.http),
    ...listen(443, ports.https),
    ['/var/log/nginx', join(folder, 'log')],
    ['/usr/local/bin/piw', site.piw],
  ]);
  mkdirSync(join(folder, 'sites-enabled'));
  writeFileSync(join(folder, 'sites-enabled/piwheels'), text);
  // Debian's own main file, as an administrator has it, but for where things are. One worker, for the log's order.
  const main = replaced(readFileSync(`${files.root}/etc/nginx/nginx.conf`, 'utf8'), [
    ['include /etc/nginx/modules-enabled/*.conf;', ''],
    ['worker_processes auto', 'worker_processes 1'],
    ['/run/nginx.pid', join(folder, 'nginx.pid')],
    ['/var/log/nginx', join(folder, 'log')],
    ['include /etc/nginx/conf.d/*.conf;', ''],
    ['/etc/nginx/sites-enabled', join(folder, 'sites-enabled')],
    ['/etc/nginx/mime.types', `${files.root}/etc/nginx/mime.types`],
    ['http {', `http {\n${temporaryPaths(folder)}`],
  ]);
  writeFileSync(join(folder, 'nginx.conf'), main);
  const program = `${files.root}/usr/sbin/nginx`;
  const options = ['-p', folder, '-c', join(folder, 'nginx.conf'), '-e', join(folder, 'log/start.log')];
  return start(site, 'nginx', program, [...options, '-g', 'daemon off;'], files, {
    file: 'piwheels.log',
    counter: (/ExecStart=(.+)/.exec(text)?.[1] ?? '').split(' '),
    environment: {},
  });
}

const temporaryPaths = (folder: string): string =>
  ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${join(folder, name)};`)
    .join('\n');

function hasIpv6(): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => {
      resolve(false);
    });
    server.listen(0, '::1', () => {
      server.close(() => {
        resolve(true);
      });
    });
  });
}

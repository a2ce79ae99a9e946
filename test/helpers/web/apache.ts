import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { debianFiles } from '../debian.js';
import type { RunningWebServer } from './served-by.js';
import { siteReplacements, replaceRequired, readSiteFile, type WebServerSetup } from './site.js';
import { startServer } from './started.js';

/** The modules that Debian's apache2 enables by default; our site file names the others that it needs. */
const DEFAULT_MODULES =
  'access_compat alias auth_basic authn_core authn_file authz_core authz_host authz_user autoindex deflate dir env filter mime mpm_event negotiation reqtimeout setenvif status';
const DEFAULT_CONF = ['charset', 'localized-error-pages', 'security'];

/** How our site file runs the logger as the farm's user; Apache starts as root. Without root there is only one user. */
const SETPRIV_PREFIX = '/usr/bin/setpriv --reuid=piwheels --regid=piwheels --init-groups --reset-env ';

/** Starts Debian's Apache with its default modules, those that our site file names, and that site file. */
export async function apache(site: WebServerSetup): Promise<RunningWebServer> {
  const files = await debianFiles(['apache2'], '/usr/sbin/apache2');
  const { folder, ports } = site;
  const etcDir = `${files.root}/etc/apache2`;
  const text = readSiteFile('apache/piwheels.conf');
  const extraModules = /a2enmod (.+)$/m.exec(text)?.[1] ?? '';
  for (const name of ['mods-enabled', 'conf-enabled', 'sites-enabled', 'run', 'lock'])
    mkdirSync(join(folder, name));
  const modules = withDependencies(etcDir, [...DEFAULT_MODULES.split(' '), ...extraModules.split(' ')]);
  for (const name of modules) {
    for (const extension of ['load', 'conf']) {
      const path = `${etcDir}/mods-available/${name}.${extension}`;
      if (!existsSync(path)) continue;
      const config = readFileSync(path, 'utf8').replaceAll(
        /\/usr\/(lib|share)\/apache2/g,
        `${files.root}/usr/$1/apache2`,
      );
      writeFileSync(join(folder, `mods-enabled/${name}.${extension}`), relocateMimeTypes(config, files.root));
    }
  }
  for (const name of DEFAULT_CONF)
    writeFileSync(
      join(folder, `conf-enabled/${name}.conf`),
      readFileSync(`${etcDir}/conf-available/${name}.conf`, 'utf8'),
    );
  writeFileSync(
    join(folder, 'ports.conf'),
    `Listen 127.0.0.1:${ports.http}\nListen 127.0.0.1:${ports.https}\n`,
  );
  const virtualHost = replaceRequired(text, [
    ...siteReplacements(site),
    ['VirtualHost *:80', `VirtualHost *:${ports.http}`],
    ['_default_:443', `_default_:${ports.https}`],
    [SETPRIV_PREFIX, process.getuid?.() === 0 ? SETPRIV_PREFIX.replaceAll('=piwheels', '=root') : ''],
    ['/usr/local/bin/piw logger', `${site.piw} logger`],
  ]);
  writeFileSync(join(folder, 'sites-enabled/piwheels.conf'), virtualHost);
  writeFileSync(join(folder, 'apache2.conf'), readFileSync(`${etcDir}/apache2.conf`, 'utf8'));
  const program = `${files.root}/usr/sbin/apache2`;
  return startServer(
    site,
    'Apache',
    program,
    ['-DFOREGROUND', '-d', folder, '-f', join(folder, 'apache2.conf')],
    files,
    {
      file: 'ssl_access.log',
      environment: {
        APACHE_RUN_USER: 'www-data',
        APACHE_RUN_GROUP: 'www-data',
        APACHE_PID_FILE: join(folder, 'apache2.pid'),
        APACHE_RUN_DIR: join(folder, 'run'),
        APACHE_LOCK_DIR: join(folder, 'lock'),
        APACHE_LOG_DIR: join(folder, 'log'),
      },
    },
  );
}

/** Points the configuration to the unpacked list of MIME types, unless that package is installed on this machine. */
const relocateMimeTypes = (text: string, root: string): string =>
  existsSync('/etc/mime.types') ? text : text.replaceAll('/etc/mime.types', `${root}/etc/mime.types`);

/** Returns modules together with their dependencies, which a2enmod reads from the modules' .load files. */
function withDependencies(etcDir: string, names: readonly string[]): Set<string> {
  const resolved = new Set<string>();
  const add = (name: string): void => {
    if (name === '' || resolved.has(name)) return;
    resolved.add(name);
    const loadFile = readFileSync(`${etcDir}/mods-available/${name}.load`, 'utf8');
    for (const dependency of /^# Depends: (.+)$/m.exec(loadFile)?.[1]?.split(' ') ?? []) add(dependency);
  };
  for (const name of names) add(name);
  return resolved;
}

import { writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { resolve } from 'node:path';
import { Args, Flags } from '@oclif/core';
import { parseAddress } from '../../bus/address.js';
import { Bus } from '../../bus/bus.js';
import { generateUserKey } from '../../bus/nkey.js';
import type { RawSettings, Settings } from '../../config.js';
import { formatConfig } from '../../settings/config-file.js';
import { slaveConnection } from '../../connection.js';
import { PiwError, errorMessage, hasCode } from '../../errors.js';
import { checkSlaveName } from './user-file.js';
import { EXIT_CODES, PiwCommand } from '../base.js';
import { reloadSlaveUsers, slaveUsersFlags, openSlaveUsers } from './users.js';

/** How long a server may take to reload its configuration, milliseconds. */
const RELOAD_TIMEOUT_MS = 10_000;

export default class SlavesAdd extends PiwCommand {
  static override summary = 'Allow a slave to build for this farm.';
  static override description = `Creates a NATS user with a key for the slave. The user may only do what a
slave has to: publish requests on its own subjects, store files in its own
bucket, and receive the answers. The slave's configuration is printed, or
written to a file that only you can read; only the public key is kept here.

Run it where nats-server reads its users (see nats-users; piw farm sets it up
for its own nats-server), as a user who may write that file and signal the
server. At a site with a leaf node of its own, run it on that machine, with
--leaf: its slaves are users of the leaf node alone, and connect to it.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> slaves add pi4',
    '<%= config.bin %> slaves add pi4 --label "in the attic" --output pi4.conf',
    '<%= config.bin %> slaves add pi4 --master tls://nats.example.org --nats-users /etc/nats/piw-slaves.conf',
    '<%= config.bin %> slaves add pi4 --leaf --nats-pid /run/nats/nats-server.pid',
  ];
  static override args = {
    name: Args.string({
      ignoreStdin: true,
      required: true,
      description: 'name of the slave: letters, digits, - and _',
    }),
  };
  static override flags = {
    label: Flags.string({ helpValue: 'TEXT', description: 'display name of the slave' }),
    master: Flags.string({
      char: 'm',
      helpValue: 'ADDRESS',
      description: 'address at which the slave reaches NATS (default: the one that this command uses)',
    }),
    output: Flags.string({
      char: 'o',
      helpValue: 'FILE',
      description: "write the slave's configuration to this new file, and do not print it",
    }),
    ...slaveUsersFlags,
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(SlavesAdd);
    const name = checkSlaveName(args.name);
    // Only from the command line: the same file may configure a slave on this machine, with its own master and label.
    const { master: masterOption, label: labelOption, leaf, ...others } = flags;
    const settings = this.settings(others);
    const label = labelOption?.trim() ?? '';
    // The label becomes a line of a configuration file.
    // eslint-disable-next-line no-control-regex
    if (/[\u0000-\u001f\u007f#]/.test(label) || label.length > 200)
      throw new PiwError('PIW_USAGE', '--label must be one line of up to 200 characters, without #');
    const key = generateUserKey();
    const users = openSlaveUsers(settings);
    const master = masterOption ?? addressForSlaves(settings.nats);
    const file = flags.output === undefined ? undefined : resolve(flags.output);
    const conf = slaveConfig(settings, { name, label, master, seed: key.seed });
    const user = { name, publicKey: key.publicKey, label: label === '' ? null : label };
    users.add({ ...user, added: new Date().toISOString().replace(/\.\d+/, '') });
    try {
      if (file !== undefined) writeFileSync(file, conf, { mode: 0o600, flag: 'wx' });
    } catch (error) {
      users.remove(name);
      throw new PiwError('PIW_NOT_WRITABLE', `${file ?? ''} can't be created: ${errorMessage(error)}`, {
        cause: error,
      });
    }
    const reloaded = reloadSlaveUsers(settings, leaf, (line) => {
      this.log(line);
    });
    const keyAccepted = reloaded && (await isKeyAccepted(settings, name, key.seed));
    this.log(
      keyAccepted
        ? `Added slave ${name}; the server accepts its key.`
        : `Added slave ${name}, but no server has accepted its key yet.`,
    );
    const { servers } = parseAddress(master);
    if (servers.every((server) => isLoopback(server))) {
      this.log(
        `${master} is reachable from this machine only: use --master to give an address for the slave.`,
      );
    }
    this.log('');
    if (file === undefined) {
      this.log('Copy this to the slave as piwheels.conf, readable only by its user (chmod 600):');
      this.log('');
      for (const line of conf.trimEnd().split('\n')) this.log(`    ${line}`);
    } else this.log(`Copy ${file} to the slave as piwheels.conf, readable only by its user (chmod 600).`);
    this.log('');
    this.log('Then run there, as an unprivileged user:');
    this.log('');
    this.log('    piw slave -c piwheels.conf');
    return { ...user, taken: keyAccepted, configuration: file ?? conf };
  }
}

/** Returns the contents of the slave's configuration file. */
function slaveConfig(
  settings: Settings,
  slave: { readonly name: string; readonly label: string; readonly master: string; readonly seed: string },
): string {
  const { 'tls-ca': ca } = settings;
  const config: RawSettings = {
    master: slave.master,
    'slave-user': slave.name,
    nkey: slave.seed,
    ...(slave.label === '' ? {} : { label: slave.label }),
    ...(settings.prefix === 'piw' ? {} : { prefix: settings.prefix }),
    ...(ca === null ? {} : { 'tls-ca': ca }),
  };
  const hint = ca === null ? '' : `# Copy ${ca} to the slave, too, and set tls-ca to its path there.\n`;
  return `# Identity of this slave. Anyone who has the nkey can act as it: chmod 600.\n${hint}${formatConfig(config)}`;
}

/** Returns the NATS address without our credentials, and with this machine's hostname in place of localhost. */
function addressForSlaves(nats: string): string {
  const { servers, tls } = parseAddress(nats);
  const reachableServers = servers.map((server) => server.replace(/^localhost(?=:)/, hostname()));
  return `${tls ? 'tls' : 'nats'}://${reachableServers.join(',')}`;
}

const isLoopback = (server: string): boolean => /^(?:127\.|\[::1\]|localhost:)/.test(server);

/** Tries to connect as the new user for up to RELOAD_TIMEOUT_MS. Returns whether a server accepted it. */
async function isKeyAccepted(settings: Settings, name: string, seed: string): Promise<boolean> {
  const { servers, tls } = parseAddress(settings.nats);
  const master = `${tls ? 'tls' : 'nats'}://${servers.join(',')}`;
  const { user, ...connection } = slaveConnection({ ...settings, master, nkey: seed, 'slave-user': name });
  for (const end = performance.now() + RELOAD_TIMEOUT_MS; performance.now() < end;) {
    try {
      const bus = await Bus.connect({ ...connection, name: `piw slaves add ${user}`, patienceMs: 0 });
      await bus.drain();
      return true;
    } catch (error) {
      if (!hasCode(error, 'PIW_UNREACHABLE')) throw error;
    }
    await sleep(100);
  }
  return false;
}

import { writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { resolve } from 'node:path';
import { Args, Flags } from '@oclif/core';
import { parseAddress } from '../../bus/address.js';
import { Bus } from '../../bus/bus.js';
import { generateUserKey } from '../../bus/nkey.js';
import { formatConfig, type RawSettings, type Settings } from '../../config.js';
import { slaveConnection } from '../../connection.js';
import { PiwError, errorMessage } from '../../errors.js';
import { checkSlaveName } from '../../farm/slave-users.js';
import { EXIT_CODES, PiwCommand } from '../base.js';
import { reloadSlaveUsers, slaveUsersFlags, openSlaveUsers } from './users.js';

/** How long a server may take to have read its configuration again, milliseconds. */
const RELOAD_TIMEOUT_MS = 5000;

export default class SlavesAdd extends PiwCommand {
  static override summary = 'Let a slave build for this farm.';
  static override description = `It gets a user of its own on NATS, known by a key, which may do no more than a slave has to: ask on
subjects of its own, send files into a bucket of its own, and hear the answers. What to copy to the slave is
printed, or written to a file that only you can read; nothing of it is kept here but the public key.

Run it where nats-server reads its users (the key nats-users; piw farm has set it up for its own), as somebody
who may write there and signal the server.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> slaves add pi4',
    '<%= config.bin %> slaves add pi4 --label "the one in the attic" --output pi4.conf',
    '<%= config.bin %> slaves add pi4 --master tls://nats.example.org --nats-users /etc/nats/piw-slaves.conf',
  ];
  static override args = {
    name: Args.string({ ignoreStdin: true, required: true, description: 'letters, digits, - and _' }),
  };
  static override flags = {
    label: Flags.string({ helpValue: 'TEXT', description: 'what people call it' }),
    master: Flags.string({
      char: 'm',
      helpValue: 'ADDRESS',
      description: 'where the slave reaches NATS (default: as this command does)',
    }),
    output: Flags.string({
      char: 'o',
      helpValue: 'FILE',
      description: "write the slave's configuration to this new file instead of printing it",
    }),
    ...slaveUsersFlags,
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(SlavesAdd);
    const name = checkSlaveName(args.name);
    // What a slave says of its own master in the same file is not meant.
    const { master: masterOption, label: labelOption, ...others } = flags;
    const settings = this.settings(others);
    const label = labelOption?.trim() ?? '';
    // It becomes a line of a configuration.
    // eslint-disable-next-line no-control-regex
    if (/[\u0000-\u001f\u007f#]/.test(label) || label.length > 200)
      throw new PiwError('PIW_USAGE', 'a label is one line of up to 200 characters, without #');
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
      throw new PiwError('PIW_NOT_WRITABLE', `${file ?? ''} can't be made: ${errorMessage(error)}`, {
        cause: error,
      });
    }
    const reloaded = reloadSlaveUsers(settings, (line) => {
      this.log(line);
    });
    const keyAccepted = reloaded && (await isKeyAccepted(settings, name, key.seed));
    this.log(
      keyAccepted
        ? `Slave ${name} is added, and the server takes its key.`
        : `Slave ${name} is added; no server was seen to take its key yet.`,
    );
    const { servers } = parseAddress(master);
    if (servers.every((server) => isLoopback(server))) {
      this.log(`${master} is this machine only: give the address that the slave can reach with --master.`);
    }
    this.log('');
    if (file === undefined) {
      this.log('Copy this to the slave as piwheels.conf, readable for its user alone (chmod 600):');
      this.log('');
      for (const line of conf.trimEnd().split('\n')) this.log(`    ${line}`);
    } else this.log(`Copy ${file} to the slave as piwheels.conf, readable for its user alone.`);
    this.log('');
    this.log('and run there, as a user who may do nothing else:');
    this.log('');
    this.log('    piw slave -c piwheels.conf');
    return { ...user, taken: keyAccepted, configuration: file ?? conf };
  }
}

/** A complete configuration of the slave. */
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
  const hint = ca === null ? '' : `# Copy ${ca} there, too, and say here where it is.\n`;
  return `# Who this slave is. Whoever has the nkey is it: chmod 600.\n${hint}${formatConfig(config)}`;
}

/** Our own way to NATS without our credentials; a name that others know in the place of the loopback's. */
function addressForSlaves(nats: string): string {
  const { servers, tls } = parseAddress(nats);
  const reachableServers = servers.map((server) => server.replace(/^localhost(?=:)/, hostname()));
  return `${tls ? 'tls' : 'nats'}://${reachableServers.join(',')}`;
}

const isLoopback = (server: string): boolean => /^(?:127\.|\[::1\]|localhost:)/.test(server);

/** Whether the server lets the new user in. */
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
      if (!(error instanceof PiwError) || error.code !== 'PIW_UNREACHABLE') throw error;
    }
    await sleep(100);
  }
  return false;
}

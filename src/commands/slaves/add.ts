import { writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { resolve } from 'node:path';
import { Args, Flags } from '@oclif/core';
import { parseAddress } from '../../bus/address.js';
import { Bus } from '../../bus/bus.js';
import { newKey } from '../../bus/nkey.js';
import { formatConfig, type Given, type Settings } from '../../config.js';
import { slaveConnection } from '../../connection.js';
import { PiwError, reason } from '../../errors.js';
import { slaveName } from '../../farm/slave-users.js';
import { EXIT_CODES, PiwCommand } from '../base.js';
import { reload, usersFlags, usersOf } from './users.js';

/** How long a server may take to have read its configuration again, milliseconds. */
const TAKEN_MS = 5000;

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
    ...usersFlags,
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(SlavesAdd);
    const name = slaveName(args.name);
    // What a slave says of its own master in the same file is not meant.
    const { master: typed, label: given, ...others } = flags;
    const settings = this.settings(others);
    const label = given?.trim() ?? '';
    // It becomes a line of a configuration.
    // eslint-disable-next-line no-control-regex
    if (/[\u0000-\u001f\u007f#]/.test(label) || label.length > 200)
      throw new PiwError('PIW_USAGE', 'a label is one line of up to 200 characters, without #');
    const key = newKey();
    const users = usersOf(settings);
    const master = typed ?? elsewhere(settings.nats);
    const file = flags.output === undefined ? undefined : resolve(flags.output);
    const conf = configuration(settings, { name, label, master, seed: key.seed });
    const user = { name, publicKey: key.publicKey, label: label === '' ? null : label };
    users.add({ ...user, added: new Date().toISOString().replace(/\.\d+/, '') });
    try {
      if (file !== undefined) writeFileSync(file, conf, { mode: 0o600, flag: 'wx' });
    } catch (error) {
      users.remove(name);
      throw new PiwError('PIW_NOT_WRITABLE', `${file ?? ''} can't be made: ${reason(error)}`, {
        cause: error,
      });
    }
    const told = reload(settings, (line) => {
      this.log(line);
    });
    const taken = told && (await isTaken(settings, name, key.seed));
    this.log(
      taken
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
    return { ...user, taken, configuration: file ?? conf };
  }
}

/** A complete configuration of the slave. */
function configuration(
  settings: Settings,
  its: { readonly name: string; readonly label: string; readonly master: string; readonly seed: string },
): string {
  const { 'tls-ca': ca } = settings;
  const given: Given = {
    master: its.master,
    'slave-user': its.name,
    nkey: its.seed,
    ...(its.label === '' ? {} : { label: its.label }),
    ...(settings.prefix === 'piw' ? {} : { prefix: settings.prefix }),
    ...(ca === null ? {} : { 'tls-ca': ca }),
  };
  const hint = ca === null ? '' : `# Copy ${ca} there, too, and say here where it is.\n`;
  return `# Who this slave is. Whoever has the nkey is it: chmod 600.\n${hint}${formatConfig(given)}`;
}

/** Our own way to NATS without our credentials; a name that others know in the place of the loopback's. */
function elsewhere(nats: string): string {
  const { servers, tls } = parseAddress(nats);
  const known = servers.map((server) => server.replace(/^localhost(?=:)/, hostname()));
  return `${tls ? 'tls' : 'nats'}://${known.join(',')}`;
}

const isLoopback = (server: string): boolean => /^(?:127\.|\[::1\]|localhost:)/.test(server);

/** Whether the server lets the new user in. */
async function isTaken(settings: Settings, name: string, seed: string): Promise<boolean> {
  const { servers, tls } = parseAddress(settings.nats);
  const master = `${tls ? 'tls' : 'nats'}://${servers.join(',')}`;
  const { user, ...its } = slaveConnection({ ...settings, master, nkey: seed, 'slave-user': name });
  for (const end = performance.now() + TAKEN_MS; performance.now() < end;) {
    try {
      const bus = await Bus.connect({ ...its, name: `piw slaves add ${user}`, patienceMs: 0 });
      await bus.drain();
      return true;
    } catch (error) {
      if (!(error instanceof PiwError) || error.code !== 'PIW_UNREACHABLE') throw error;
    }
    await sleep(100);
  }
  return false;
}

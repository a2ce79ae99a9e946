import { Flags } from '@oclif/core';
import { CAST } from '../../actors/cast.js';
import { ROLES, type Role } from '../doctor/check.js';
import { createContext, rolesOf } from '../doctor/context.js';
import { examine, type NamedFinding } from '../doctor/doctor.js';
import { loadSettings, presentConfigFiles, traceSettings } from '../settings/load.js';
import { settingsProblems } from '../settings/problems.js';
import { stripControlCharacters } from '../monitor/table.js';
import { EXIT_CODES, PiwCommand, natsFlags } from './base.js';

export default class Doctor extends PiwCommand {
  static override summary =
    'Examine the installation on this machine, and say what is wrong and how to fix it.';
  static override description = `Run it as the user of the service. What is examined follows from the
configuration: a builder if it says where its master is, a master if it says
where the servers are, a web server if it has public-url; or name it yourself.
Each fault is one line, with the command or the setting that fixes it. Nothing
is changed. Exits with 1 if something is wrong; if nothing is, says so at a
terminal only, so that cron stays silent.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> doctor',
    '<%= config.bin %> doctor --role builder -c /etc/piwheels.conf',
    '<%= config.bin %> doctor --json',
  ];
  static override flags = {
    ...natsFlags,
    role: Flags.string({
      multiple: true,
      options: [...ROLES],
      helpValue: 'ROLE',
      description: 'what this machine is for the farm: master, builder or web; can be repeated',
    }),
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { flags } = await this.parse(Doctor);
    const file = this.configFile(flags);
    const files = file === undefined ? presentConfigFiles() : [file];
    const problems = settingsProblems(files, process.env);
    const findings: NamedFinding[] = [];
    const add = (finding: NamedFinding) => {
      findings.push(finding);
      const problem = stripControlCharacters(finding.problem);
      this.log(`${finding.check}: ${problem}${problem.endsWith('?') ? '' : '.'} Fix: ${finding.fix}`);
    };
    for (const { message } of problems)
      add({ check: 'configuration', problem: message, fix: fixOf(message) });
    let roles: readonly Role[] = [];
    if (problems.length === 0) {
      const settings = loadSettings(flags, file);
      roles = (flags.role as readonly Role[] | undefined) ?? [...rolesOf(traceSettings(flags, file))];
      const context = createContext({
        settings,
        roles: new Set(roles),
        files,
        root: this.config.root,
        systemRoot: '/',
      });
      try {
        for await (const finding of examine(
          context,
          CAST.map(({ task }) => task),
        ))
          add(finding);
      } finally {
        await context.close();
      }
    }
    if (problems.length > 0) this.log('The rest was not examined: it needs a valid configuration.');
    else if (findings.length === 0 && process.stdout.isTTY)
      this.log(`Nothing is wrong with this ${roles.join(', ')}.`);
    if (findings.length > 0) process.exitCode = 1;
    return { ok: findings.length === 0, roles, findings };
  }
}

/** Returns what fixes a configuration with this problem: the command that the message has, or its place. */
function fixOf(message: string): string {
  const [, command] = /: run (.+)$/.exec(message) ?? [];
  const [, place] = /^(\S+, line \d+):/.exec(message) ?? [];
  const [, unreadable] = /^(?:the secret )?(\S+) can't be read/.exec(message) ?? [];
  if (unreadable !== undefined && message.includes('ENOENT'))
    return `write the secret into ${unreadable}, or correct its name where it is set; then chmod 600 ${unreadable}`;
  if (unreadable !== undefined) return `make ${unreadable} readable for this user, or remove it`;
  return command ?? `correct ${place ?? 'the environment'}`;
}

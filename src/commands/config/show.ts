import type { SettingOrigin, TracedSetting } from '../../settings/load.js';
import { presentConfigFiles, traceSettings } from '../../settings/load.js';
import { maskSetting } from '../../settings/mask.js';
import { formatTable, stripControlCharacters } from '../../monitor/table.js';
import { EXIT_CODES, PiwCommand, natsFlags } from '../base.js';

export default class ConfigShow extends PiwCommand {
  static override summary = 'Show every setting, and where its value comes from.';
  static override description = `Options override the environment (PIW_OUTPUT_PATH for output-path), that
overrides the configuration files, and those override the defaults. Passwords
and keys are masked.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> config show',
    '<%= config.bin %> config show --json',
    'PIW_TIMEOUT=30m <%= config.bin %> config show -c /dev/null',
  ];
  static override flags = { ...natsFlags };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { flags } = await this.parse(ConfigShow);
    const file = this.configFile(flags);
    const settings = traceSettings(flags, file).map((setting) => ({
      ...setting,
      value: maskSetting(setting.name, setting.value),
    }));
    const files = file === undefined ? presentConfigFiles() : [file];
    this.log(files.length === 0 ? 'No configuration file is read.' : `Read: ${files.join(', ')}\n`);
    const rows = settings.map(({ name, value, origin }) => [
      name,
      stripControlCharacters(formatValue(value)),
      describeOrigin(origin),
    ]);
    for (const line of formatTable([['setting', 'value', 'from'], ...rows])) this.log(line);
    return {
      files,
      settings: settings.map(({ name, value, origin }) => ({ name, value, ...origin })),
    };
  }
}

function formatValue(value: TracedSetting['value']): string {
  if (value === null) return '-';
  if (typeof value === 'object') return value.length === 0 ? '-' : value.join(', ');
  return String(value);
}

/** Says where a value comes from, e.g. `/etc/piwheels.conf, line 3`. */
function describeOrigin(origin: SettingOrigin): string {
  const path = 'secretFile' in origin ? origin.secretFile : undefined;
  const secretFile = path === undefined ? '' : ` (${path})`;
  switch (origin.source) {
    case 'default':
      return 'default';
    case 'file':
      return `${origin.file}, line ${origin.line}${secretFile}`;
    case 'environment':
      return `${origin.variable}${secretFile}`;
    case 'option':
      return origin.option;
  }
}

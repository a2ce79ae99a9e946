/**
 * Wrong command lines, each with the answer. All commands are run in this process, because forty processes would take
 * half a minute.
 */
import { execFile } from 'node:child_process';
import { readFile, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Config, Errors, run } from '@oclif/core';
import t from 'tap';
import { COMMAND_NAMES, commandName } from '../../src/commands/names.js';
import { makeWheel } from '../helpers/wheel.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** The command line after `piw`, and the answer after `piw: `, without the command whose --help it names at its end. */
const WRONG: readonly (readonly [string, string | RegExp])[] = [
  // Commands.
  ['qeue', 'unknown command: qeue; did you mean piw queue?'],
  ['mater -v', 'unknown command: mater; did you mean piw master?'],
  ['frobnicate', 'unknown command: frobnicate.'],
  ['abi ad cp311', 'unknown command: abi ad; did you mean piw abi add?'],
  ['abi frobnicate', 'unknown command: abi frobnicate; there is piw abi add, list, remove, skip, unskip.'],
  ['slaves lst', 'unknown command: slaves lst; did you mean piw slaves list?'],
  ['slave add attic', 'unexpected argument "add"; did you mean piw slaves add?'],
  ['-v master', 'the command comes before its options: piw master -v.'],
  ['--verison', 'unknown option --verison; did you mean --version?'],
  // Options.
  ['web --prot 80', 'unknown option --prot; did you mean --port?'],
  ['master --one-proces', 'unknown option --one-proces; did you mean --one-process?'],
  ['web --no-cuont', 'unknown option --no-cuont; did you mean --no-count?'],
  ['queue --frobnicate', 'unknown option --frobnicate.'],
  ['queue -x', 'unknown option -x.'],
  ['queue numpy --josn', 'unknown option --josn; did you mean --json?'],
  [
    'master --pypi-rate 5',
    'piw master has no option --pypi-rate; write pypi-rate = VALUE in the configuration file.',
  ],
  ['web --port', '--port needs a value: --port NUMBER.'],
  ['web --port -v', '--port needs a value: --port NUMBER.'],
  ['master -d', '-d needs a value: -d DSN.'],
  ['slave --sandbox', '--sandbox needs a value: --sandbox auto|required|none.'],
  ['abi remove cp311 --yes=no', '--yes takes no value.'],
  ['abi remove cp311 -y=no', '-y takes no value.'],
  ['web --port 80 --port 81', '--port is given twice; give it once.'],
  ['queue --quiet --verbose', "--quiet and --verbose can't be used together."],
  ['queue -qv', "-q and -v can't be used together."],
  ['farm --nats a --nats-listen b', "--nats-listen and --nats can't be used together."],
  ['check --package six --sample 3', "--package and --sample can't be used together."],
  ['abi skip cp311', '--reason is missing: --reason TEXT.'],
  // Values.
  ['web --port x', '--port "x": must be a whole number from 0 to 65535.'],
  ['web --port=-1', '--port "-1": must be a whole number from 0 to 65535.'],
  ['web --port 70000', '--port "70000": must be a whole number from 0 to 65535.'],
  ['check --most 0', '--most "0": must be a whole number of at least 1.'],
  ['slave --log-limit 1.5', '--log-limit "1.5": must be a whole number.'],
  ['queue --log-format xml', '--log-format "xml": must be one of text, json.'],
  [
    'logger --format comon',
    '--format "comon": must be one of auto, common, common_vhost, combined, combined_vhost, nginx, json; did you mean common?',
  ],
  ['retry --class compiller', /^--class "compiller": must be one of .*; did you mean compiler\?$/],
  ['rebuild hom', /^PART "hom": must be one of home, .*; did you mean home\?$/],
  ['import nowhere.whl', 'there is no file nowhere.whl.'],
  [
    'import /etc/passwd',
    '/etc/passwd is not a wheel: a wheel is named NAME-VERSION-PYTHON-ABI-PLATFORM.whl, for example six-1.16.0-py3-none-any.whl.',
  ],
  [
    'import a.whl dist/a.whl',
    'a.whl is given twice; give it once, or import files of the same name one after the other.',
  ],
  ['import a.whl --duration soon', '--duration "soon": must be a duration such as 90m or 45s.'],
  ['check --settle soon', '--settle "soon": must be a duration such as 90m or 45s.'],
  ['add six 1.16.0 --released soon', '--released "soon": must be a time such as 2021-05-05T14:18:17Z.'],
  ['retry --since soon', /^--since "soon": must be a time such as 2026-11-30, /],
  ['add six 1/2', 'VERSION "1/2": must be a version such as 1.16.0.'],
  ['remove six 1/2', 'VERSION "1/2": must be a version such as 1.16.0.'],
  [`add six --skip ${'x'.repeat(1025)}`, '--skip: must be at most 1024 characters.'],
  [`abi skip cp311 --reason ${'x'.repeat(1025)}`, '--reason: must be at most 1024 characters.'],
  ['add six 1.0 --released 1890-01-01', '--released: must be a time since 1970.'],
  ['import a.whl --package-version 1/2', '--package-version "1/2": must be a version such as 1.16.0.'],
  ['import a.whl --abi cp-311', '--abi "cp-311": must be a tag such as cp311 or linux_aarch64.'],
  ['import a.whl --duration 999999999h', '--duration: must be at most 30 years.'],
  ['retry --slave pi4 --abi cp-311', '--abi "cp-311": must be a tag such as cp311 or linux_aarch64.'],
  [`retry --text ${'x'.repeat(1025)}`, '--text: must be at most 1024 characters.'],
  ['slave -t soon', '--timeout soon: must be a duration such as 3h, 90m or 45s.'],
  // Arguments.
  ['add', 'PACKAGE is missing; the command is piw add PACKAGE [VERSION].'],
  ['remove', 'PACKAGE is missing; the command is piw remove PACKAGE [VERSION].'],
  ['import', 'FILES is missing; the command is piw import FILES...'],
  ['rebuild', 'PART is missing; the command is piw rebuild PART [PACKAGE].'],
  ['queue numpy 1.0', 'unexpected argument "1.0"; the command is piw queue [PACKAGE].'],
  ['remove six 1.0 1.1', 'unexpected argument "1.1"; the command is piw remove PACKAGE [VERSION].'],
  ['monitor now', 'unexpected argument "now"; the command is piw monitor.'],
  ['remove six', 'give either a version, or --all-versions for the whole package.'],
  ['actor', 'TASK is missing; piw actor --list shows the tasks.'],
  [
    'actor the-oracl',
    /^there is no task the-oracl; did you mean the-oracle\? The tasks are the-oracle, .*cloud-gazer\./,
  ],
  ['master --debug scribbler', /^there is no task scribbler\. The tasks are the-oracle, /],
  // The rest of the commands.
  ['abi add', 'ABI is missing; the command is piw abi add ABI.'],
  ['abi list cp311', 'unexpected argument "cp311"; the command is piw abi list.'],
  ['abi remove', 'ABI is missing; the command is piw abi remove ABI.'],
  ['abi unskip cp311 --platfrom linux_armv7l', 'unknown option --platfrom; did you mean --platform?'],
  ['backup', 'FOLDER is missing; the command is piw backup FOLDER.'],
  ['completion bsh', 'SHELL "bsh": must be one of bash, fish, zsh; did you mean bash?'],
  ['config shw', 'unknown command: config shw; did you mean piw config show?'],
  ['config show dsn', 'unexpected argument "dsn"; the command is piw config show.'],
  ['doctor --role bulider', '--role "bulider": must be one of master, builder, web; did you mean builder?'],
  ['feed now', 'unexpected argument "now"; the command is piw feed.'],
  ['initdb --dns postgres:///piw', 'unknown option --dns; did you mean --dsn?'],
  ['logs', 'name a build or a package, or a slave with --follow --slave SLAVE.'],
  ['pause the-architct', /^there is no task the-architct; did you mean the-architect\?/],
  ['quit --slave', 'unknown option --slave; did you mean --slaves?'],
  ['restore', 'FOLDER is missing; the command is piw restore FOLDER.'],
  ['resume --all', 'unknown option --all.'],
  ['slaves add', 'NAME is missing; the command is piw slaves add NAME.'],
  ['slaves kill 1 2', 'unexpected argument "2"; the command is piw slaves kill SLAVE.'],
  ['slaves list --jsn', 'unknown option --jsn; did you mean --json?'],
  ['slaves remove', 'NAME is missing; the command is piw slaves remove NAME.'],
  ['slaves skip --after-build', 'unknown option --after-build.'],
  ['slaves sleep --al', 'unknown option --al.'],
  ['slaves wake 1 2', 'unexpected argument "2"; the command is piw slaves wake SLAVE.'],
  ['status six', 'unexpected argument "six"; the command is piw status.'],
];

/** Sentences of oclif's parser, which says neither what to type nor, often, what is wrong. */
const PARSERS_SENTENCES =
  /Missing \d+ required|Missing required flag|Nonexistent flag|Parsing --|Expected|expects a value|Unexpected argument|can only be specified once|cannot also be provided|The following error/;

/** Runs `piw` in this process; returns its exit code and what it writes to stderr. */
async function runPiw(words: readonly string[], config: Config): Promise<{ code: number; err: string }> {
  const write = process.stderr.write.bind(process.stderr);
  let err = '';
  process.stderr.write = (text: string | Uint8Array) => {
    err += String(text);
    return true;
  };
  try {
    await run([...words], config);
    return { code: 0, err };
  } catch (error) {
    if (!(error instanceof Errors.ExitError)) throw error;
    return { code: error.oclif.exit ?? 0, err };
  } finally {
    process.stderr.write = write;
  }
}

/** Runs a program until it exits. */
const runProgram = (program: string, words: readonly string[]): Promise<{ code: number; err: string }> =>
  new Promise((resolve) => {
    const child = execFile(process.execPath, [program, ...words], (_error, _out, err) => {
      resolve({ code: child.exitCode ?? -1, err });
    });
  });

void t.test('each wrong command line is answered with what is wrong and what to type', async (t) => {
  const config = await Config.load({ root: ROOT });
  t.ok(WRONG.length >= 40);
  const covered = new Set(WRONG.map(([line]) => commandName(...line.split(' '))));
  t.same(
    COMMAND_NAMES.filter((name) => !covered.has(name)),
    [],
    'there is a wrong line for each command',
  );
  for (const [line, expected] of WRONG) {
    const { code, err } = await runPiw(line.split(' '), config);
    const [, answer = err, help = ''] = /^piw: (.*?)(?: See (piw .*--help|--help)\.)?\n$/.exec(err) ?? [];
    if (typeof expected === 'string') t.equal(answer, expected, line);
    else t.match(answer, expected, line);
    t.match(err, /^piw: .*\n$/, `${line}: one line`);
    t.notMatch(err, PARSERS_SENTENCES, line);
    t.equal(code, 2, line);
    if (help !== '' && help !== 'piw --help')
      t.ok(line.startsWith(help.slice('piw '.length, -' --help'.length)), `${line}: ${help}`);
  }
});

void t.test("piwheels' names of programs are those of the commands, in answers, too", async (t) => {
  const folder = t.testdir();
  const { bin } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as {
    readonly bin: Readonly<Record<string, string>>;
  };
  const names = Object.keys(bin).filter((name) => name !== 'piw');
  t.same(
    names.sort(),
    ['add', 'import', 'initdb', 'logger', 'master', 'monitor', 'rebuild', 'remove', 'slave'].map(
      (name) => `piw-${name}`,
    ),
  );
  for (const name of names) {
    await symlink(join(ROOT, bin[name] ?? ''), join(folder, name));
    const { code, err } = await runProgram(join(folder, name), ['--frobnicate']);
    const command = name.replace('-', ' ');
    t.equal(err, `piw: unknown option --frobnicate. See ${command} --help.\n`, name);
    t.equal(code, 2, name);
  }
});

void t.test(
  "the addresses of piwheels' queues are accepted, and one line says what stands in their place",
  async (t) => {
    const config = await Config.load({ root: ROOT });
    const all = 'status control import log slave file web builds db fs stats index'.split(' ');
    const lines: readonly (readonly [string, readonly string[]])[] = [
      ['master -o /dev/null', all],
      ['monitor', ['status', 'control']],
      ['remove -y six 1.16.0', ['import']],
      ['add -y six', ['import']],
      ['rebuild HOME', ['import']],
      [`import -y ${await makeWheel(t.testdir())}`, ['import']],
      ['logger --geoip-database /dev/null', ['log']],
    ];
    for (const [line, queues] of lines) {
      const options = queues.flatMap((queue) => [`--${queue}-queue`, `ipc:///tmp/piw-${queue}`]);
      // Each command fails at the next step, because this is not an address.
      const { err } = await runPiw([...line.split(' '), '--nats', 'two words', ...options], config);
      const [notice = '', failure = '', ...others] = err.trim().split('\n');
      t.match(
        notice,
        /^piw: --.* no effect: piw has NATS subjects instead of ZeroMQ queues; --nats and --prefix /,
        line,
      );
      for (const queue of queues) t.match(notice, `--${queue}-queue`);
      t.match(failure, /^piw: /);
      t.notMatch(failure, '-queue', line);
      t.same(others, [], line);
    }
    const folder = t.testdir({ 'old.conf': 'status-queue = ipc:///tmp/piw-status\n\nimport_queue=x\n' });
    const { err } = await runPiw(['queue', '-c', join(folder, 'old.conf'), '--nats', 'two words'], config);
    t.match(err, /^piw: \/.*old\.conf: status-queue, import-queue have no effect: piw has NATS subjects /);
  },
);

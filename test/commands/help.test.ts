import t from 'tap';
import { DEFAULT_BUILD_LIMITS } from '../../src/builder/limits.js';
import { piwRunner } from '../helpers/command.js';

t.setTimeout(120_000);
const piw = piwRunner({});

void t.test('help is available for every command, before or after its name', async (t) => {
  const [mainHelp, queueHelp, helpQueue, topic] = await Promise.all([
    piw('--help'),
    piw('queue', '--help'),
    piw('help', 'queue'),
    piw('abi'),
  ]);
  for (const name of ['master', 'slave', 'queue', 'farm', 'abi', 'initdb'])
    t.match(mainHelp.out, ` ${name} `);
  t.match(queueHelp.out, /EXAMPLES\s+\$ piw queue\n/);
  t.equal(helpQueue.out, queueHelp.out);
  for (const name of ['add', 'list', 'remove', 'skip', 'unskip']) t.match(topic.out, `abi ${name} `);
  t.same([mainHelp.code, queueHelp.code, helpQueue.code], [0, 0, 0]);
});

void t.test('the help of piw slave states the limits of a build with their units and defaults', async (t) => {
  const { out } = await piw('slave', '--help');
  const help = out.replace(/\s+/g, ' ');
  const MB = 1024 ** 2;
  const { log, output, memory, addressSpace, processes, openFiles, fileSize, diskFree, niceness } =
    DEFAULT_BUILD_LIMITS;
  for (const [option, value] of [
    ['log-limit=MB', log / MB],
    ['output-limit=MB', output / MB],
    ['build-memory=MB', memory / MB],
    ['build-address-space=MB', addressSpace / MB],
    ['build-processes=NUMBER', processes],
    ['build-open-files=NUMBER', openFiles],
    ['build-file-size=MB', fileSize / MB],
    ['build-disk-free=MB', diskFree / MB],
    ['build-niceness=0..19', niceness],
  ] as const)
    t.match(help, new RegExp(`--${option} [^(]*\\(default: ${value}[,;)]`), option);
  t.match(help, '--build-env=NAME=VALUE...');
});

/**
 * Who may import whom. Actors ask each other by message only, so the imports form a tree. From the top down:
 *
 *   commands    everything below
 *   farm        the cast, and everything below
 *   actors      actor, bus, transfer, and the one domain room that the actor is the face of
 *   slave       actor, bus, transfer, builder, failures
 *   backup      database, servers, wheels, files
 *   doctor      actor, bus, builder, check, database, files, pypi, settings
 *   check, web  site, wheels, files
 *   servers     bus, actor, files
 *   builder, database, monitor, pypi, site, weblog: the domain rooms; no bus, no actor, no other domain room but wheels
 *   wheels      transfer (the file as it arrives), files
 *   transfer    actor, bus, files
 *   actor       bus
 *   bus, files, failures: nothing of ours
 *   protocols   model
 *   model       nothing of ours
 *
 * errors, log, nearest, root, units, version and concurrency are for everybody; model, and the types of protocols, for every room above bus.
 */

/** The domain room that an actor is the face of. An actor that isn't listed has none. */
const FACES = {
  'cloud-gazer': 'pypi',
  'file-juggler': 'wheels',
  lumberjack: 'weblog',
  'mr-chase': 'wheels',
  'slave-driver': 'wheels',
  'the-architect': 'database',
  'the-oracle': 'database',
  'the-scribe': 'site',
};
const DOMAINS = ['builder', 'database', 'monitor', 'pypi', 'site', 'weblog', 'wheels'];

const OURS = '^(actors|src|test)/';
const EVERYBODYS = '^src/((errors|log|nearest|root|units|version)[.]ts$|concurrency/)';

/** `folder` imports nothing of ours but itself, what is for everybody, and what matches `allowed`. */
function only(name, comment, folder, ...allowed) {
  return {
    name,
    comment,
    severity: 'error',
    from: { path: folder },
    to: { path: OURS, pathNot: [folder, EVERYBODYS, ...allowed] },
  };
}

/** Nobody but `folder` imports the package. */
function adapter(packageName, folder) {
  return {
    name: `only-${folder.replace(/.*\//, '')}-imports-${packageName}`,
    comment: `src/${folder} is the one adapter around ${packageName}.`,
    severity: 'error',
    from: { path: OURS, pathNot: `^src/${folder}/` },
    to: { path: [`(^|/)node_modules/(@types/)?${packageName}(/|$)`, `^${packageName}$`] },
  };
}

const actorRules = [
  only(
    'actor-without-domain',
    'An actor that is nobody’s face imports no domain folder.',
    `^actors/(?!(cast|${Object.keys(FACES).join('|')})([.]ts$|/))`,
    '^src/(actor|bus|protocols|model|failures)/',
  ),
  ...Object.entries(FACES).map(([actor, domain]) =>
    only(
      `actor-${actor}`,
      `${actor} is the face of src/${domain} alone, and knows other actors only by their protocols.`,
      `^actors/${actor}([.]ts$|/)`,
      `^src/(actor|bus|protocols|model|failures|files|transfer|${domain})/`,
    ),
  ),
];

const domainRules = DOMAINS.map((domain) =>
  only(
    `domain-${domain}`,
    'A domain room imports no bus, no actor and no other domain room but wheels.',
    `^src/${domain}/`,
    '^src/(model|failures|files|wheels|protocols)/',
    ...(domain === 'wheels' ? ['^src/transfer/'] : []),
  ),
);

module.exports = {
  forbidden: [
    {
      name: 'no-circular',
      comment: 'Of two files, at most one needs the other.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'resolvable',
      comment: 'What is imported exists and stands in package.json.',
      severity: 'error',
      from: { path: OURS },
      to: { dependencyTypes: ['unknown', 'undetermined', 'npm-no-pkg', 'npm-unknown'] },
    },
    {
      name: 'no-development-package',
      comment: 'What runs after npm ci --omit=dev, the benchmarks too, imports no development dependency.',
      severity: 'error',
      from: { path: '^(actors|src|test/bench)/' },
      to: { dependencyTypes: ['npm-dev'] },
    },
    {
      name: 'no-development-package-by-a-helper',
      comment: 'Nor does a helper that a benchmark uses.',
      severity: 'error',
      from: { path: '^test/bench/' },
      to: { reachable: true, path: '(^|/)node_modules/(tap|yazl|@types/yazl)/' },
    },
    adapter('nats', 'bus'),
    adapter('pg', 'database'),
    {
      name: 'protocols-by-type',
      comment: 'A domain folder knows what messages look like, and neither sends nor checks any.',
      severity: 'error',
      from: { path: `^src/(${DOMAINS.join('|')})/` },
      to: { path: '^src/protocols/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'nothing-imports-tests',
      severity: 'error',
      from: { pathNot: '^test/' },
      to: { path: '^test/' },
    },
    {
      name: 'nothing-imports-commands',
      comment: 'Commands parse, call and print; what they call is elsewhere.',
      severity: 'error',
      from: { pathNot: '^(src/bin[.]ts$|src/commands/|test/)' },
      to: { path: '^src/(commands/|bin[.]ts$)' },
    },
    only('everybodys', 'What is for everybody imports nothing else.', EVERYBODYS),
    only('config', 'Settings are read by commands and handed on.', '^src/config[.]ts$'),
    only(
      'settings',
      'Settings come from files, environment and options.',
      '^src/settings/',
      '^src/config[.]ts$',
    ),
    ...['bus', 'files', 'failures', 'model'].map((leaf) =>
      only(`leaf-${leaf}`, 'A leaf knows nothing of ours.', `^src/${leaf}/`),
    ),
    only('protocols', 'Messages are made of the model.', '^src/protocols/', '^src/model/'),
    only('actor', 'The runtime knows no task.', '^src/actor/', '^src/(bus|protocols|model)/'),
    only(
      'transfer',
      'How a file comes from a slave to the farm.',
      '^src/transfer/',
      '^src/(actor|bus|files|protocols|model)/',
    ),
    only(
      'slave',
      'A slave knows the Slave Driver and the File Juggler by their protocols.',
      '^src/slave/',
      '^src/(actor|bus|transfer|builder|failures|protocols|model)/',
    ),
    only('check', 'The checker reads what the site wrote.', '^src/check/', '^src/(site|wheels|files|model)/'),
    only(
      'backup',
      'A backup consists of the database and the published files.',
      '^src/backup/',
      '^src/(database|servers|wheels|files)/',
    ),
    only(
      'doctor',
      'The doctor examines what every room needs of a machine.',
      '^src/doctor/',
      '^src/((actor|builder|bus|check|database|files|protocols|pypi|settings|model)/|(config|connection)[.]ts$)',
    ),
    only('web', 'The web server serves the output path.', '^src/web/', '^src/(site|wheels|files)/'),
    only(
      'servers',
      'Servers are started and watched here; what runs on them is elsewhere.',
      '^src/servers/',
      '^src/(actor|bus|files|protocols|model)/',
    ),
    ...domainRules,
    ...actorRules,
    {
      name: 'cast',
      comment: 'The cast puts actors and what they are the face of together.',
      severity: 'error',
      from: { path: '^actors/cast[.]ts$' },
      to: { path: '^src/(farm|monitor|commands)/' },
    },
    {
      name: 'actors-by-the-cast',
      comment: 'Actors are made by the cast alone; a command may run one that is not of it.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/commands/' },
      to: { path: '^actors/(?!cast[.]ts$)' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^(dist|test/fixtures)/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'types', 'default'],
      extensions: ['.ts', '.mjs', '.js', '.cjs', '.json'],
    },
  },
};

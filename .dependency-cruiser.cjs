/**
 * Who may import whom: the architecture, as a check. Everything that an actor wants of another it asks for
 * by message, so that the picture of imports is a tree:
 *
 *   commands -> farm, monitor, actors, everything below
 *   farm     -> the cast, everything below
 *   actors   -> actor, bus, protocols, states, and the one domain folder that the actor is the face of
 *   actor    -> bus, protocols
 *   database, pypi, wheels, builder, site, weblog, monitor -> states, wheels, the types of protocols
 *   bus      -> nothing of ours
 *   protocols, states -> each other
 *
 * errors, log and version are everybody's.
 */

/** The domain folder that an actor is the face of. One that isn't here has none. */
const FACES = {
  'build-slave': 'builder',
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
const EVERYBODYS = '^src/(errors|log|version)[.]ts$';

/** `folder` imports nothing of ours but itself, everybody's, and what matches `allowed`. */
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
    '^src/(actor|bus|protocols|states)/',
  ),
  ...Object.entries(FACES).map(([actor, domain]) =>
    only(
      `actor-${actor}`,
      `${actor} is the face of src/${domain} alone, and knows other actors only by their protocols.`,
      `^actors/${actor}([.]ts$|/)`,
      `^src/(actor|bus|protocols|states|${domain})/`,
    ),
  ),
];

const domainRules = DOMAINS.map((domain) =>
  only(
    `domain-${domain}`,
    'A domain folder imports states, wheels and the types of protocols: no bus, no actor, no other domain.',
    `^src/${domain}/`,
    '^src/(states|wheels|protocols)/',
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
      to: { reachable: true, path: '(^|/)node_modules/(tap|yazl|@types/yazl|@oclif/test)/' },
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
    only('errors', 'What is everybody’s imports nothing else.', EVERYBODYS),
    only('config', 'Settings are read by commands and handed on.', '^src/config[.]ts$'),
    only('bus', 'The bus knows no message.', '^src/bus/'),
    only('protocols-and-states', 'They know each other alone.', '^src/(protocols|states)/'),
    only('actor', 'The runtime knows no task.', '^src/actor/', '^src/(bus|protocols)/'),
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

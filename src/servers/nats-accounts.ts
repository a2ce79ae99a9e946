/**
 * Returns the two accounts of a farm's nats-servers in the syntax of the server's configuration;
 * config/nats/accounts.conf is the same for people to edit.
 *
 * FARM contains the streams, the leases, and all trusted users. Slaves are in SLAVES, to which FARM exports only three
 * services (the slaves' requests, and the chunks and the metadata of the objects that they send) and one stream (WAKE).
 * The accounts enforce what a user's permissions can't: a requester chooses the reply subject, and the server checks
 * neither JetStream's acknowledgements nor our actors' answers against the requester's permissions. In a single account
 * a slave could direct them to any subject: to a lease, so that nobody held it, or to $JS.API, which would execute them.
 * Across accounts they reach only SLAVES.
 */
export function formatAccounts(options: {
  readonly prefix: string;
  /** The configuration of each user, in braces. */
  readonly masters: readonly string[];
  /** The path of the file with the slaves' `users: […]`, relative to the server's configuration. */
  readonly slavesFile: string;
}): string {
  const services = [`${options.prefix}.slave.>`, '$O.*.C.>', '$O.*.M.>'];
  const streams = [`${options.prefix}.wake.>`];
  const exported = (kind: string) => (subject: string) =>
    `      { ${kind}: ${JSON.stringify(subject)}, accounts: [SLAVES] }`;
  const imported = (kind: string) => (subject: string) =>
    `      { ${kind}: { account: FARM, subject: ${JSON.stringify(subject)} } }`;
  return `accounts {
  FARM: {
    jetstream: enabled
    users: [
${options.masters.map((line) => `      ${line}`).join('\n')}
    ]
    exports: [
${[...services.map(exported('service')), ...streams.map(exported('stream'))].join('\n')}
    ]
  }
  SLAVES: {
    imports: [
${[...services.map(imported('service')), ...streams.map(imported('stream'))].join('\n')}
    ]
    include ${JSON.stringify(options.slavesFile)}
  }
}
`;
}

/**
 * Returns the two accounts of a farm's nats-servers in the syntax of the server's configuration;
 * config/nats/accounts.conf is the same for people to edit.
 *
 * FARM contains the streams, the leases, and all trusted users. Slaves are in SLAVES, to which FARM exports only three
 * services (the slaves' requests, their large messages, and the metadata of the files that they send) and one stream
 * (WAKE, FOLLOW). The accounts enforce what a user's permissions can't: a requester chooses the reply subject, and the server
 * checks neither JetStream's acknowledgements nor our actors' answers against the requester's permissions. In a single
 * account a slave could direct them to any subject: to a lease, so that nobody held it, or to $JS.API, which would
 * execute them. Across a service they reach only SLAVES.
 *
 * The chunks of files are a stream that SLAVES exports, because a message that passes a service is copied, which costs
 * the server as much as delivering it. Their reply subjects do reach FARM. So whatever receives them must never answer:
 * the File Juggler doesn't, and their buckets are streams without acknowledgements (MemoryBucketConfig).
 */
export function formatAccounts(options: {
  readonly prefix: string;
  /** The configuration of each user, in braces. */
  readonly masters: readonly string[];
  /** The path of the file with the slaves' `users: […]`, relative to the server's configuration. */
  readonly slavesFile: string;
}): string {
  const services = [`${options.prefix}.slave.>`, '$O.*.C.claim.*', '$O.*.M.*'];
  const streams = [`${options.prefix}.wake.>`];
  const chunks = '$O.*.C.file.>';
  const exported =
    (kind: string, to = 'SLAVES') =>
    (subject: string) =>
      `      { ${kind}: ${JSON.stringify(subject)}, accounts: [${to}] }`;
  const imported =
    (kind: string, from = 'FARM') =>
    (subject: string) =>
      `      { ${kind}: { account: ${from}, subject: ${JSON.stringify(subject)} } }`;
  return `accounts {
  FARM: {
    jetstream: enabled
    users: [
${options.masters.map((line) => `      ${line}`).join('\n')}
    ]
    exports: [
${[...services.map(exported('service')), ...streams.map(exported('stream'))].join('\n')}
    ]
    imports: [
${imported('stream', 'SLAVES')(chunks)}
    ]
  }
  SLAVES: {
    exports: [
${exported('stream', 'FARM')(chunks)}
    ]
    imports: [
${[...services.map(imported('service')), ...streams.map(imported('stream'))].join('\n')}
    ]
    include ${JSON.stringify(options.slavesFile)}
  }
}
`;
}

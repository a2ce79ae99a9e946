/**
 * The two accounts of a farm's nats-servers, in the terms of their configuration; config/nats/accounts.conf
 * is the same for people to edit.
 *
 * FARM holds the streams, the leases, and everybody who is trusted. Slaves are in SLAVES, into which FARM
 * gives no more than three services (their questions, and the chunks and the metadata of what they send) and
 * one stream (WAKE). What a user's permissions can't say, the accounts do: whoever asks names the subject of
 * the answer, and neither JetStream's acknowledgements nor the answers of our own actors are held against the
 * asker's permissions. In one account, a slave could have them sent to anything: to a lease, so that nobody
 * held it any more, or to $JS.API, which takes them for orders. Across accounts they reach nothing but SLAVES.
 */
export function formatAccounts(options: {
  readonly prefix: string;
  /** Lines of users, each in braces. */
  readonly masters: readonly string[];
  /** The file with `users: […]` of slaves, as the server finds it. */
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

import { PiwError } from '../errors.js';
import { userBucketName } from '../protocols/file-juggler.js';
import { wake } from '../protocols/slave-driver.js';

/** A slave's user on NATS: its name in subjects, and the public key by which the servers authenticate it. */
export interface SlaveUser {
  readonly name: string;
  readonly publicKey: string;
  readonly label: string | null;
  /** When the user was added: ISO 8601, UTC. */
  readonly added: string;
}

/**
 * Returns a slave's permissions on NATS in the syntax of the server's configuration. A slave may send requests on its
 * own subjects, store chunks in its own bucket, and receive its own answers, WAKE and FOLLOW; nothing else.
 */
function natsPermissions(prefix: string, name: string): string {
  const list = (subjects: readonly string[]) =>
    `[${subjects.map((subject) => JSON.stringify(subject)).join(', ')}]`;
  const bucket = userBucketName(prefix, name);
  const publish = [`${prefix}.slave.${name}.>`, `$O.${bucket}.C.>`, `$O.${bucket}.M.>`];
  const subscribe = [`_INBOX_${name}.>`, `${prefix}.${wake.name}.${name}.>`];
  return `{ publish: { allow: ${list(publish)} }, subscribe: { allow: ${list(subscribe)} }, allow_responses: false }`;
}

const HEAD = `# The slaves' users. Written by piw slaves add and piw slaves remove; the configuration of each nats-server
# includes it in the account SLAVES. It holds public keys and no secret.
users: [
`;
const TAIL = ']\n';
const USER_LINE = /^ {2}\{ nkey: "?(U[A-Z2-7]{55})"?, .* \} # (\{.*\})$/;

/** Returns the contents of the file for these users. */
export function formatUsers(users: readonly SlaveUser[], prefix: string): string {
  const lines = users.map(({ name, publicKey, label, added }) => {
    const metadata = JSON.stringify({ name, added, ...(label === null ? {} : { label }) });
    return `  { nkey: ${publicKey}, permissions: ${natsPermissions(prefix, name)} } # ${metadata}\n`;
  });
  return `${HEAD}${lines.join('')}${TAIL}`;
}

/** Returns the users in such a file. Throws PIW_CONFIG for a line that piw didn't write. */
export function parseUsers(contents: string, file: string): readonly SlaveUser[] {
  return contents.split(/\r?\n/).flatMap((line, i): SlaveUser[] => {
    const trimmed = line.trim();
    if (trimmed === '' || trimmed.startsWith('#') || /^users: \[$|^\]$|^users: \[\s*\]$/.test(trimmed))
      return [];
    const [, publicKey = '', metadataJson = ''] = USER_LINE.exec(line) ?? [];
    const metadata = publicKey === '' ? undefined : parseJsonObject(metadataJson);
    if (typeof metadata?.['name'] !== 'string' || typeof metadata['added'] !== 'string') {
      throw new PiwError('PIW_CONFIG', `${file}, line ${i + 1}: not written by piw slaves`);
    }
    const label = typeof metadata['label'] === 'string' ? metadata['label'] : null;
    return [{ name: metadata['name'], publicKey, label, added: metadata['added'] }];
  });
}

function parseJsonObject(text: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

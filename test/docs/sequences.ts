/** The sequence diagrams of the conversations, in the syntax of Mermaid. */
import type { Conversation, Message, Verb } from './conversations.js';
import { type Participant, participantsOf } from './participants.js';

/** Conversations of more messages are drawn by sender, and not message by message. */
const MAX_DRAWN_VERBS = 12;
const LINE_WIDTH = 60;

/**
 * The conversations whose messages follow one another in an order that their definition does not tell. Every message
 * of theirs is in its diagram, and no other: see sequenceOf.
 */
const ORDERED: Readonly<Record<string, string>> = {
  slave: `
participant S as build slave
participant D as Slave Driver
participant J as File Juggler
S->>D: HELLO
D-->>S: HELLO(slave_id, index_url)
loop until the slave ends
  alt this machine can't build now
    S->>D: REST(reason)
    D-->>S: SLEEP(seconds)
  else there is nothing to build
    S->>D: IDLE
    D-->>S: SLEEP(seconds)
    Note over S: waits, at most until WAKE
  else a build is granted
    S->>D: IDLE
    D-->>S: BUILD(lease, package, version)
    loop while it builds
      S->>D: BUSY(lease)
      D-->>S: CONT, or DONE: the lease is lost
      opt somebody follows the build
        S->>D: OUTPUT(lease, first, lines)
        D-->>S: CONT, or DONE: nobody follows it any longer
      end
    end
    S->>D: BUILT(lease, files)
    loop for each file
      D-->>S: SEND(filename, transfer_id)
      S->>J: HELLO, CHUNK, …: the conversation "file"
      S->>D: SENT(lease, filename)
      Note over D: the File Juggler verifies and publishes it
      opt the farm's disk is full
        D-->>S: WAIT(seconds)
      end
    end
    D-->>S: DONE
  end
end
S->>D: BYE
D-->>S: BYE
`,
  file: `
participant S as sender
participant N as bucket on NATS
participant J as File Juggler
S->>J: HELLO(transfer_id)
J-->>S: FETCH(offset, length): all of the file
loop for each segment of that range
  S->>N: chunks
  N->>J: the same chunks, which it writes as they pass
  S->>J: CHUNK(offset, length)
  J-->>S: FETCH: the first range that is missing, or DONE
end
opt NATS refuses the chunks
  S->>J: UNSTORED
  Note over J: makes a new bucket
  J-->>S: DONE
end
`,
  chase: `
participant C as command
participant M as Mr Chase
participant J as File Juggler
C->>M: IMPORT(package, version, files)
loop for each file
  M-->>C: SEND(filename, transfer_id)
  C->>J: HELLO, CHUNK, …: the conversation "file"
  C->>M: SENT(filename)
  Note over M: the File Juggler verifies and publishes it
  opt the farm's disk is full
    M-->>C: WAIT(seconds)
  end
end
M-->>C: DONE(filenames)
C->>M: ADDPKG, ADDVER, REMPKG, REMVER or REBUILD
M-->>C: DONE
loop until "next" is null
  C->>M: RETRY(filter, dry_run, after, upto)
  M-->>C: RETRIED(next, classes, examples)
end
`,
};

/** Returns the diagram of a conversation. Throws if a drawn one is not of these messages. */
export function sequenceOf(conversation: Conversation): string {
  const drawn = ORDERED[conversation.name];
  if (drawn !== undefined) checkDrawn(conversation, drawn);
  const lines = drawn?.trim().split('\n') ?? draw(conversation);
  return ['```mermaid', 'sequenceDiagram', ...lines.map((line) => `  ${line}`), '```'].join('\n');
}

function checkDrawn({ name, verbs }: Conversation, drawn: string): void {
  const words = new Set(drawn.match(/\b[A-Z]{3,}\b/g));
  const names = new Set(
    verbs.flatMap((verb) => [verb.name, ...(verb.answers ?? []).map((answer) => answer.name)]),
  );
  const missing = [...names].filter((each) => !words.has(each));
  if (missing.length > 0) throw new Error(`the diagram of ${name} lacks ${missing.join(', ')}`);
}

function draw({ verbs }: Conversation): readonly string[] {
  const receiver = labelOf(participantsOf(verbs.flatMap(({ receivers }) => receivers)));
  const senders = [...new Set(verbs.map((verb) => labelOf(participantsOf(verb.senders))))];
  if (verbs.length > MAX_DRAWN_VERBS) return drawBySender(verbs, receiver);
  const ids = new Map(senders.map((label, i) => [label, `S${i + 1}`]));
  return [
    ...[...ids].map(([label, id]) => `participant ${id} as ${label}`),
    `participant R as ${receiver}`,
    ...verbs.flatMap((verb) => {
      const id = ids.get(labelOf(participantsOf(verb.senders))) ?? '';
      const arrow = verb.answers ? '->>' : '-)';
      const answers = verb.answers?.map(signatureOf).join(' or ');
      return [
        `${id}${arrow}R: ${wrap(signatureOf(verb))}`,
        ...(answers === undefined ? [] : [`R-->>${id}: ${wrap(answers)}`]),
      ];
    }),
  ];
}

/** Draws one arrow for each sender, with all messages that it sends. */
function drawBySender(verbs: readonly Verb[], receiver: string): readonly string[] {
  const sent = new Map<string, string[]>();
  for (const verb of verbs)
    for (const sender of new Set(participantsOf(verb.senders).map((each) => labelOf([each]))))
      sent.set(sender, [...(sent.get(sender) ?? []), verb.name]);
  const senders = [...sent].sort(([a], [b]) => (a < b ? -1 : 1));
  return [
    ...senders.map(([label], i) => `participant S${i + 1} as ${label}`),
    `participant R as ${receiver}`,
    ...senders.flatMap(([, names], i) => [
      `S${i + 1}->>R: ${wrap(names.join(', '))}`,
      `R-->>S${i + 1}: the answer to each`,
    ]),
  ];
}

/** Returns a name for participants together; all commands are one. */
function labelOf(participants: readonly Participant[]): string {
  const names = participants.map(({ title, isCommand }) => (isCommand === true ? 'commands' : title));
  return [...new Set(names)].join(', ') || 'whoever wants to know';
}

const signatureOf = ({ name, fields }: Message): string =>
  fields.length === 0 ? name : `${name}(${fields.map((field) => field.name).join(', ')})`;

/** Breaks a text into lines of a diagram. */
function wrap(text: string): string {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const line = lines.at(-1);
    if (line === undefined || line.length + 1 + word.length > LINE_WIDTH) lines.push(word);
    else lines[lines.length - 1] = `${line} ${word}`;
  }
  return lines.join('<br/>');
}

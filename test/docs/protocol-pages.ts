/** docs/protocols: a page for each conversation, and one for the types of their fields. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../src/root.js';
import type { Conversation, Message, Verb } from './conversations.js';
import { cell, code, page, sentence, table } from './markdown.js';
import { linksTo, participantsOf, withoutCommands } from './participants.js';
import { markdownOf } from './program.js';
import { sequenceOf } from './sequences.js';
import type { FieldText, TypeNames } from './type-names.js';

export function protocolPages(
  conversations: readonly Conversation[],
  types: TypeNames,
): Readonly<Record<string, string>> {
  return {
    'docs/protocols/README.md': indexPage(conversations),
    ...Object.fromEntries(
      conversations.map((each) => [`docs/protocols/${each.name}.md`, conversationPage(each)]),
    ),
    // Last, because the other pages name the types.
    'docs/protocols/types.md': typesPage(types),
  };
}

const indexPage = (conversations: readonly Conversation[]): string =>
  page(
    'The conversations',
    'Everything that the parts of a farm say to each other on NATS. A conversation is a set of messages under one name, defined in [src/protocols](../../src/protocols). Slaves, administrators and programs of your own need nothing else.',
    table([
      ['conversation', 'subjects', 'sent by', 'served by'],
      ...conversations.map(({ name, subject, verbs }) => [
        `[${name}](${name}.md)`,
        code(`PREFIX.${subject}.VERB`),
        linksTo(withoutCommands(participantsOf(verbs.flatMap(({ senders }) => senders)))),
        linksTo(participantsOf(verbs.flatMap(({ receivers }) => receivers))) || 'whoever listens',
      ]),
    ]),
    '`PREFIX` is the [prefix](../configuration.md#nats) of the farm, `piw` by default, and `VERB` the name of the message.',
    '## On the wire',
    'A message is a MessagePack array: its name, then all of its fields in the order of the tables, always the same number. An optional value is null. Sender and receiver check every field against its [type](types.md); a message that does not match is answered with ERROR and changes nothing.',
    'A request is answered on its reply subject, with one of the answers that its page lists or with `ERROR(code, text)`: the [code](../errors.md) and a sentence for people. A message without answers is published: nobody replies, and it may be lost. A body that is larger than `max_payload` of the servers travels in an object store, and the message carries a [claim](../glossary.md#actors) in its place.',
    'A request is repeated until it is answered, so all of them are idempotent. Which protocol a process speaks is a number in [src/version.ts](../../src/version.ts), which is compared when it connects.',
  );

function conversationPage(conversation: Conversation): string {
  const { name, file, comment, verbs, subject } = conversation;
  const deliveries = new Set(verbs.map(deliveryOf));
  const receivers = participantsOf(verbs.flatMap(({ receivers: each }) => each));
  return page(
    `The conversation ${code(name)}`,
    markdownOf(comment),
    table([
      ['', ''],
      ['defined in', `[${file}](../../${file})`],
      ['subjects', code(`PREFIX.${subject}.VERB`)],
      ['served by', linksTo(receivers) || 'whoever listens'],
      ['delivered to', deliveries.size === 1 ? ([...deliveries][0] ?? '') : 'see each message'],
      ['who may send', permissionOf(subject)],
    ]),
    sequenceOf(conversation),
    ...verbs.flatMap((verb) => verbSection(verb, deliveries.size > 1)),
    'All conversations: [the index](README.md), which says how a message is encoded. The types of fields: [types](types.md).',
  );
}

function deliveryOf({ isToOne, isToEach }: Verb): string {
  if (isToOne && isToEach) return 'one process, which answers, and to every other that listens';
  if (isToOne) return 'one process: those of a task share a queue group';
  return isToEach ? 'every process that serves it or listens' : 'everybody who has subscribed';
}

/** Returns who may send on a subject, by the exports and imports of the accounts in config/nats. */
function permissionOf(subject: string): string {
  const accounts = readFileSync(join(ROOT, 'config/nats/accounts.conf'), 'utf8');
  const exported = (kind: string) =>
    [
      ...accounts.matchAll(new RegExp(`\\{ ${kind}: "piw\\.([^"]+)\\.>", accounts: \\[SLAVES\\] \\}`, 'g')),
    ].some(([, prefix = '']) => subject.startsWith(`${prefix}.`));
  const farm = 'users of the account `FARM` (masters and administrators)';
  const more = exported('service')
    ? ', and each slave on the subjects with its own name'
    : exported('stream')
      ? '; each slave may only receive what is for it'
      : '; no slave';
  return `${farm}${more}: see [users and accounts](../master.md#users-and-accounts-on-nats)`;
}

const verbSection = (verb: Verb, tellsDelivery: boolean): readonly string[] => [
  `## ${verb.name}`,
  markdownOf(verb.comment),
  [
    `Sent by: ${linksTo(participantsOf(verb.senders)) || 'nobody at present'}.`,
    `${verb.answers ? 'Served by' : 'Heard by'}: ${linksTo(participantsOf(verb.receivers)) || 'whoever listens'}.`,
    ...(tellsDelivery ? [`Delivered to ${deliveryOf(verb)}.`] : []),
  ].join(' '),
  fieldsOf(verb, verb.comment),
  ...(verb.answers ?? []).map((answer) => answerBlock(answer, verb.comment)),
];

const answerBlock = (answer: Message, comment: string): string =>
  [
    `Answer **${answer.name}**${answer.comment === '' ? '' : `: ${cell(answer.comment)}`}`,
    ...(answer.fields.length === 0 ? [] : [fieldTable(answer.fields, `${comment}\n${answer.comment}`)]),
  ].join('\n\n');

const fieldsOf = ({ fields }: Message, comment: string): string =>
  fields.length === 0 ? 'It has no fields.' : fieldTable(fields, comment);

/** Returns a table of fields. Throws if neither the field nor the message says what it means. */
function fieldTable(fields: readonly FieldText[], comment: string): string {
  const rows = fields.map(({ name, type, meaning }) => {
    if (meaning === '' && !comment.includes(code(name))) throw new Error(`what does the field ${name} mean?`);
    return [code(name), cell(type), meaning === '' ? 'See above.' : sentence(meaning)];
  });
  return table([['field', 'type', 'meaning'], ...rows]);
}

const typesPage = (types: TypeNames): string =>
  page(
    "The types of messages' fields",
    'The types that have a name in [src/protocols](../../src/protocols) or [src/model](../../src/model). Lengths of strings are in UTF-16 code units. A list in square brackets has exactly these items; a map has text keys.',
    ...types
      .list()
      .flatMap(({ name, comment, file, definition, fields }) => [
        `## ${name}`,
        markdownOf(comment),
        `Defined in [${file}](../../${file}): ${definition}.`,
        ...(fields.length === 0
          ? []
          : [
              table([
                ['field', 'type', 'meaning'],
                ...fields.map(({ name: field, type, meaning }) => [
                  code(field),
                  cell(type),
                  sentence(meaning),
                ]),
              ]),
            ]),
      ]),
    'All conversations: [the index](README.md).',
  );

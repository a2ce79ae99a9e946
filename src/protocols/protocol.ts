import { Type, type Static, type Schema } from '../model/schema.js';
import { PiwError } from '../errors.js';
import { formatQuantity } from '../units.js';

/** The fields of one message, in the order in which they are sent. */
export type FieldSchemas = Readonly<Record<string, Schema>>;

/** A message of a protocol, and its possible answers. */
export interface VerbSpec {
  readonly fields: FieldSchemas;
  /** The possible answers; ERROR is always possible. A message without answers is published: nobody replies to it. */
  readonly answers?: Readonly<Record<string, FieldSchemas>>;
}
export type VerbSpecs = Readonly<Record<string, VerbSpec>>;

type FieldValues<F extends FieldSchemas> = { readonly [K in keyof F]: Static<F[K]> };
type AnswerMessage<M extends Readonly<Record<string, FieldSchemas>>> = {
  [V in keyof M & string]: { readonly verb: V } & FieldValues<M[V]>;
}[keyof M & string];

/** The fields of verb K. */
export type Body<V extends VerbSpecs, K extends keyof V> = FieldValues<V[K]['fields']>;
/** Any message of the protocol that is not an answer, as an object with its verb. */
export type RequestMessage<V extends VerbSpecs> = {
  [K in keyof V & string]: { readonly verb: K } & Body<V, K>;
}[keyof V & string];
/** Any answer to verb K. */
export type Answer<V extends VerbSpecs, K extends keyof V> =
  V[K]['answers'] extends Readonly<Record<string, FieldSchemas>> ? AnswerMessage<V[K]['answers']> : never;

/** Any answer to any message of the protocol. */
export type AnyAnswer<V extends VerbSpecs> = { [K in keyof V & string]: Answer<V, K> }[keyof V & string];

const ERROR_FIELDS = { code: Type.String({ maxLength: 64 }), text: Type.String() };

/**
 * Converts messages of one verb between two forms, and validates them in both directions. On the wire a message is an
 * array: the verb, then all of its fields, always the same number. In the program it is an object with the fields'
 * names as keys.
 */
class MessageCodec {
  readonly #verb: string;
  readonly #names: readonly string[];
  readonly #schemas: readonly Schema[];

  constructor(verb: string, fields: FieldSchemas) {
    this.#verb = verb;
    this.#names = Object.keys(fields);
    this.#schemas = Object.values(fields);
  }

  pack(message: Readonly<Record<string, unknown>>): unknown[] {
    const array: unknown[] = [this.#verb];
    for (const name of this.#names) array.push(message[name]);
    this.#check(array);
    return array;
  }

  unpack(array: readonly unknown[]): Record<string, unknown> {
    this.#check(array);
    const message: Record<string, unknown> = { verb: this.#verb };
    this.#names.forEach((name, i) => (message[name] = array[i + 1]));
    return message;
  }

  /** Validates the fields; the caller has looked up the verb already. */
  #check(array: readonly unknown[]): void {
    const fieldCount = array.length - 1;
    if (fieldCount !== this.#schemas.length)
      this.#refuse(`the message has ${formatQuantity(fieldCount, 'field')}, not ${this.#schemas.length}`);
    this.#schemas.forEach(({ is, description }, i) => {
      if (!is(array[i + 1])) this.#refuse(`${this.#names[i] ?? ''} must be ${description}`);
    });
  }

  #refuse(detail: string): never {
    throw new PiwError('PIW_MESSAGE_INVALID', `${this.#verb}: ${detail}`);
  }
}

/** A protocol, also called a conversation: its name, which is a token of its NATS subjects, and its messages. */
export class Protocol<V extends VerbSpecs> {
  readonly name: string;
  readonly verbs: V;
  readonly #requestCodecs = new Map<string, MessageCodec>();
  readonly #answerCodecs = new Map<string, Map<string, MessageCodec>>();

  constructor(name: string, verbs: V) {
    this.name = name;
    this.verbs = verbs;
    const errorCodec = new MessageCodec('ERROR', ERROR_FIELDS);
    for (const [verb, { fields, answers }] of Object.entries(verbs)) {
      this.#requestCodecs.set(verb, new MessageCodec(verb, fields));
      const answerCodecs = Object.entries(answers ?? {}).map(
        ([name, f]) => [name, new MessageCodec(name, f)] as const,
      );
      this.#answerCodecs.set(verb, new Map([...answerCodecs, ['ERROR', errorCodec] as const]));
    }
  }

  /** Encodes a message as an array. Throws PIW_MESSAGE_INVALID if a field doesn't match its schema. */
  pack<K extends keyof V & string>(verb: K, body: Body<V, K>): unknown[] {
    return codecFor(this.#requestCodecs, verb).pack(body);
  }

  /** Decodes an array from outside. Throws PIW_MESSAGE_INVALID for anything that isn't a message of this protocol. */
  unpack(array: unknown): RequestMessage<V> {
    return codecFor(this.#requestCodecs, verbOf(array)).unpack(array as unknown[]) as RequestMessage<V>;
  }

  /** Encodes an answer to `verb`. Throws PIW_MESSAGE_INVALID if it is not one of the verb's answers. */
  packAnswer<K extends keyof V & string>(verb: K, answer: Answer<V, K>): unknown[] {
    const codecs = this.#answerCodecs.get(verb);
    return codecFor(codecs, (answer as { verb: string }).verb).pack(answer);
  }

  /**
   * Decodes an answer to `verb`. Throws PIW_MESSAGE_INVALID for anything else, and the PiwError that an ERROR answer
   * stands for.
   */
  unpackAnswer<K extends keyof V & string>(verb: K, array: unknown): Answer<V, K> {
    const name = verbOf(array);
    const answer = codecFor(this.#answerCodecs.get(verb), name).unpack(array as unknown[]);
    if (name === 'ERROR') throw PiwError.fromAnswer(String(answer['code']), String(answer['text']));
    return answer as Answer<V, K>;
  }
}

/** Encodes an ERROR answer, which is the same in every protocol. */
export function packError(code: string, text: string): unknown[] {
  return ['ERROR', code, text];
}

function verbOf(array: unknown): string {
  const verb: unknown = Array.isArray(array) ? array[0] : undefined;
  if (typeof verb !== 'string')
    throw new PiwError('PIW_MESSAGE_INVALID', 'the message is not an array that begins with a verb');
  return verb;
}

function codecFor(codecs: ReadonlyMap<string, MessageCodec> | undefined, verb: string): MessageCodec {
  const codec = codecs?.get(verb);
  if (!codec)
    throw new PiwError('PIW_MESSAGE_INVALID', `the protocol has no such message: ${verb.slice(0, 40)}`);
  return codec;
}

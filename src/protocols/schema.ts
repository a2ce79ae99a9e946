/**
 * What a field of a message may hold: a check at run time, and the same as a type. A library that does this
 * costs a process more to load than NATS does, and every actor is a process.
 */
export interface Schema<T = unknown> {
  /** What it is, for whoever sent something else: "a whole number". */
  readonly description: string;
  readonly is: (value: unknown) => value is T;
}

/** The type of what the schema admits. */
export type Static<S> = S extends Schema<infer T> ? T : never;

type Properties = Readonly<Record<string, Schema>>;

function schema<T>(description: string, is: (value: unknown) => boolean): Schema<T> {
  return { description, is: is as Schema<T>['is'] };
}

/** A map, and nothing else that MessagePack may give: no list, bytes or time. */
function isMap(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  return !ArrayBuffer.isView(value) && !(value instanceof Date);
}

/** Lengths are in UTF-16 units; of a pattern without anchors, any part of the text will do. */
function text(limits: { minLength?: number; maxLength?: number; pattern?: string } = {}): Schema<string> {
  const { minLength = 0, maxLength = Infinity } = limits;
  const pattern = limits.pattern === undefined ? undefined : new RegExp(limits.pattern);
  const is = (value: unknown) =>
    typeof value === 'string' &&
    value.length >= minLength &&
    value.length <= maxLength &&
    (pattern === undefined || pattern.test(value));
  return schema(`a text${pattern ? ` like ${pattern.source}` : ''}`, is);
}

interface NumberLimits {
  readonly minimum?: number;
  readonly maximum?: number;
}

/** Infinity and NaN are no numbers here. */
function number({ minimum = -Infinity, maximum = Infinity }: NumberLimits = {}): Schema<number> {
  const is = (value: unknown) =>
    Number.isFinite(value) && Number(value) >= minimum && Number(value) <= maximum;
  return schema('a number within its limits', is);
}

function integer({ minimum = -Infinity, maximum = Infinity }: NumberLimits = {}): Schema<number> {
  const is = (value: unknown) =>
    Number.isInteger(value) && Number(value) >= minimum && Number(value) <= maximum;
  return schema('a whole number within its limits', is);
}

function literal<const T extends string | number | boolean | null>(expected: T): Schema<T> {
  return schema(JSON.stringify(expected), (value) => value === expected);
}

function union<S extends Schema>(choices: readonly S[]): Schema<Static<S>> {
  return schema(choices.map(({ description }) => description).join(' or '), (value) =>
    choices.some(({ is }) => is(value)),
  );
}

function array<S extends Schema>(
  item: S,
  { maxItems = Infinity }: { maxItems?: number } = {},
): Schema<Static<S>[]> {
  const is = (value: unknown) => Array.isArray(value) && value.length <= maxItems && value.every(item.is);
  return schema(`a list, of each ${item.description}`, is);
}

/** A list of so many items, each with a schema of its own. */
function tuple<const S extends readonly Schema[]>(
  items: S,
): Schema<{ -readonly [I in keyof S]: Static<S[I]> }> {
  const is = (value: unknown) =>
    Array.isArray(value) && value.length === items.length && items.every((item, i) => item.is(value[i]));
  return schema(`a list of ${String(items.length)} items as agreed`, is);
}

/** A map with all of these keys; one that it doesn't know is passed over, unless none may be. */
function object<const P extends Properties>(
  properties: P,
  { additionalProperties = true }: { additionalProperties?: boolean } = {},
): Schema<{ -readonly [K in keyof P]: Static<P[K]> }> {
  const entries = Object.entries(properties);
  const is = (value: unknown) =>
    isMap(value) &&
    entries.every(([key, property]) => property.is(value[key])) &&
    (additionalProperties || Object.keys(value).length === entries.length);
  return schema('a map with its keys as agreed', is);
}

/** A map with any keys that `key` admits. */
function record<S extends Schema>(key: Schema<string>, item: S): Schema<Record<string, Static<S>>> {
  const is = (value: unknown) =>
    isMap(value) && Object.entries(value).every(([name, one]) => key.is(name) && item.is(one));
  return schema('a map with its keys as agreed', is);
}

function intersect<A, B>([a, b]: readonly [Schema<A>, Schema<B>]): Schema<A & B> {
  return schema(`${a.description}, and ${b.description}`, (value) => a.is(value) && b.is(value));
}

/** So many at most, and always a multiple of `of`. */
function bytes({
  maxLength = Infinity,
  multipleOf = 1,
}: { maxLength?: number; multipleOf?: number } = {}): Schema<Uint8Array> {
  const is = (value: unknown) =>
    value instanceof Uint8Array && value.length <= maxLength && value.length % multipleOf === 0;
  return schema('bytes, as many as agreed', is);
}

export const Type = {
  String: text,
  Bytes: bytes,
  Number: number,
  Integer: integer,
  Boolean: () => schema<boolean>('true or false', (value) => typeof value === 'boolean'),
  Null: () => literal(null),
  Literal: literal,
  Union: union,
  Array: array,
  Tuple: tuple,
  Object: object,
  Record: record,
  Intersect: intersect,
};

import { formatQuantity } from '../units.js';

/**
 * The values that a field of a message may have: a check at run time, and a type. A library for this takes a process
 * longer to load than NATS does, and every actor is a process.
 */
export interface Schema<T = unknown> {
  /** What the value must be, for error messages: "an integer within its limits". */
  readonly description: string;
  readonly is: (value: unknown) => value is T;
}

/** The type of the values that the schema admits. */
export type Static<S> = S extends Schema<infer T> ? T : never;

type Properties = Readonly<Record<string, Schema>>;

function schema<T>(description: string, is: (value: unknown) => boolean): Schema<T> {
  return { description, is: is as Schema<T>['is'] };
}

/**
 * Returns whether the value is a map, and no other object that MessagePack may decode: a list, bytes or a timestamp.
 */
function isMap(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  return !ArrayBuffer.isView(value) && !(value instanceof Date);
}

/** A string. Lengths are in UTF-16 code units; a pattern without anchors may match any part of the string. */
function text(limits: { minLength?: number; maxLength?: number; pattern?: string } = {}): Schema<string> {
  const { minLength = 0, maxLength = Infinity } = limits;
  const pattern = limits.pattern === undefined ? undefined : new RegExp(limits.pattern);
  const is = (value: unknown) =>
    typeof value === 'string' &&
    value.length >= minLength &&
    value.length <= maxLength &&
    (pattern === undefined || pattern.test(value));
  return schema(`a string within its limits${pattern ? ` that matches ${pattern.source}` : ''}`, is);
}

interface NumberLimits {
  readonly minimum?: number;
  readonly maximum?: number;
}

/** A finite number. */
function number({ minimum = -Infinity, maximum = Infinity }: NumberLimits = {}): Schema<number> {
  const is = (value: unknown) =>
    Number.isFinite(value) && Number(value) >= minimum && Number(value) <= maximum;
  return schema('a number within its limits', is);
}

function integer({ minimum = -Infinity, maximum = Infinity }: NumberLimits = {}): Schema<number> {
  const is = (value: unknown) =>
    Number.isInteger(value) && Number(value) >= minimum && Number(value) <= maximum;
  return schema('an integer within its limits', is);
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
  return schema(`a list within its limits, each item ${item.description}`, is);
}

/** A list of exactly `items.length` items, each with a schema of its own. */
function tuple<const S extends readonly Schema[]>(
  items: S,
): Schema<{ -readonly [I in keyof S]: Static<S[I]> }> {
  const is = (value: unknown) =>
    Array.isArray(value) && value.length === items.length && items.every((item, i) => item.is(value[i]));
  return schema(`a list that matches the protocol, of ${formatQuantity(items.length, 'item')}`, is);
}

/** A map with all of these keys. Other keys are ignored or, with `additionalProperties: false`, refused. */
function object<const P extends Properties>(
  properties: P,
  { additionalProperties = true }: { additionalProperties?: boolean } = {},
): Schema<{ -readonly [K in keyof P]: Static<P[K]> }> {
  const entries = Object.entries(properties);
  const is = (value: unknown) =>
    isMap(value) &&
    entries.every(([key, property]) => property.is(value[key])) &&
    (additionalProperties || Object.keys(value).length === entries.length);
  return schema('a map that matches the protocol', is);
}

/** A map with any keys that `key` admits. */
function record<S extends Schema>(key: Schema<string>, item: S): Schema<Record<string, Static<S>>> {
  const is = (value: unknown) =>
    isMap(value) && Object.entries(value).every(([name, property]) => key.is(name) && item.is(property));
  return schema('a map that matches the protocol', is);
}

function intersect<A, B>([a, b]: readonly [Schema<A>, Schema<B>]): Schema<A & B> {
  return schema(`${a.description}, and ${b.description}`, (value) => a.is(value) && b.is(value));
}

/** At most `maxLength` bytes, and always a multiple of `multipleOf`. */
function bytes({
  maxLength = Infinity,
  multipleOf = 1,
}: { maxLength?: number; multipleOf?: number } = {}): Schema<Uint8Array> {
  const is = (value: unknown) =>
    value instanceof Uint8Array && value.length <= maxLength && value.length % multipleOf === 0;
  return schema('bytes of a length that matches the protocol', is);
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

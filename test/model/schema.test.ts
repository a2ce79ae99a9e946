import { inspect } from 'node:util';
import t, { type Test } from 'tap';
import { Type, type Schema } from '../../src/model/schema.js';

function checkSchema(t: Test, schema: Schema, good: readonly unknown[], bad: readonly unknown[]): void {
  for (const value of good) t.ok(schema.is(value), `${schema.description} admits ${inspect(value)}`);
  for (const value of bad) t.notOk(schema.is(value), `${schema.description} refuses ${inspect(value)}`);
}

void t.test('a string schema checks the length and the pattern', (t) => {
  const schema = Type.String({ minLength: 1, maxLength: 3, pattern: '^[a-z]*$' });
  checkSchema(t, schema, ['a', 'abc'], ['', 'abcd', 'A', 7, null, undefined, ['a']]);
  t.end();
});

void t.test('a number is finite, and an integer is whole', (t) => {
  checkSchema(t, Type.Number({ minimum: 0, maximum: 2 }), [0, 1.5, 2], [-0.1, 2.1, NaN, Infinity, '1', null]);
  checkSchema(t, Type.Integer({ minimum: 1 }), [1, 2 ** 53], [0, 1.5, NaN, Infinity, '1', 1n, null]);
  t.end();
});

void t.test('a list schema checks the number of items and each item', (t) => {
  checkSchema(
    t,
    Type.Array(Type.Boolean(), { maxItems: 2 }),
    [[], [true, false]],
    [[1], [true, true, true], {}],
  );
  checkSchema(
    t,
    Type.Tuple([Type.Number(), Type.Null()]),
    [[1, null]],
    [[1], [1, null, 1], [null, 1], 'ab', {}],
  );
  t.end();
});

void t.test('a map has every key of its schema, and is no other object', (t) => {
  const schema = Type.Object({ a: Type.Number() });
  const others = [{}, { a: '1' }, { a: undefined }, null, [1], new Date(), new Uint8Array(1)];
  checkSchema(t, schema, [{ a: 1 }, { a: 1, b: 2 }], others);
  checkSchema(
    t,
    Type.Object({ a: Type.Number() }, { additionalProperties: false }),
    [{ a: 1 }],
    [{ a: 1, b: 2 }],
  );
  const intersection = Type.Intersect([schema, Type.Object({ b: Type.Null() })]);
  checkSchema(t, intersection, [{ a: 1, b: null }], [{ a: 1 }, { b: null }]);
  t.end();
});

void t.test('a record admits the keys that its pattern admits', (t) => {
  const schema = Type.Record(Type.String({ pattern: '^[a-z]+$' }), Type.Number());
  checkSchema(
    t,
    schema,
    [{}, { apt: 1 }],
    [{ APT: 1 }, { apt: '1' }, [], null, new Date(), new Uint8Array(0)],
  );
  t.end();
});

void t.test('a union admits what any of its schemas admits', (t) => {
  const schema = Type.Union([Type.Literal('feed'), Type.Literal(0), Type.Null()]);
  checkSchema(t, schema, ['feed', 0, null], ['add', '0', 1, undefined, false]);
  t.end();
});

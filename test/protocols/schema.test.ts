import { inspect } from 'node:util';
import t, { type Test } from 'tap';
import { Type, type Schema } from '../../src/protocols/schema.js';

function admits(t: Test, schema: Schema, good: readonly unknown[], bad: readonly unknown[]): void {
  for (const value of good) t.ok(schema.is(value), `${schema.what} admits ${inspect(value)}`);
  for (const value of bad) t.notOk(schema.is(value), `${schema.what} refuses ${inspect(value)}`);
}

void t.test('a text has its limits and its pattern', (t) => {
  const schema = Type.String({ minLength: 1, maxLength: 3, pattern: '^[a-z]*$' });
  admits(t, schema, ['a', 'abc'], ['', 'abcd', 'A', 7, null, undefined, ['a']]);
  t.end();
});

void t.test('a number is finite, and whole where it is to be', (t) => {
  admits(t, Type.Number({ minimum: 0, maximum: 2 }), [0, 1.5, 2], [-0.1, 2.1, NaN, Infinity, '1', null]);
  admits(t, Type.Integer({ minimum: 1 }), [1, 2 ** 53], [0, 1.5, NaN, Infinity, '1', 1n, null]);
  t.end();
});

void t.test('a list has no more items than it may, each as agreed', (t) => {
  admits(t, Type.Array(Type.Boolean(), { maxItems: 2 }), [[], [true, false]], [[1], [true, true, true], {}]);
  admits(t, Type.Tuple([Type.Number(), Type.Null()]), [[1, null]], [[1], [1, null, 1], [null, 1], 'ab', {}]);
  t.end();
});

void t.test('a map has every key of its schema, and is nothing but a map', (t) => {
  const one = Type.Object({ a: Type.Number() });
  const others = [{}, { a: '1' }, { a: undefined }, null, [1], new Date(), new Uint8Array(1)];
  admits(t, one, [{ a: 1 }, { a: 1, b: 2 }], others);
  admits(t, Type.Object({ a: Type.Number() }, { additionalProperties: false }), [{ a: 1 }], [{ a: 1, b: 2 }]);
  const both = Type.Intersect([one, Type.Object({ b: Type.Null() })]);
  admits(t, both, [{ a: 1, b: null }], [{ a: 1 }, { b: null }]);
  t.end();
});

void t.test('a map of any keys admits those that its pattern admits', (t) => {
  const schema = Type.Record(Type.String({ pattern: '^[a-z]+$' }), Type.Number());
  admits(t, schema, [{}, { apt: 1 }], [{ APT: 1 }, { apt: '1' }, [], null, new Date(), new Uint8Array(0)]);
  t.end();
});

void t.test('one of several is what any of them is', (t) => {
  const schema = Type.Union([Type.Literal('feed'), Type.Literal(0), Type.Null()]);
  admits(t, schema, ['feed', 0, null], ['add', '0', 1, undefined, false]);
  t.end();
});

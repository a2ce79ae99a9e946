import t from 'tap';
import { LruCache } from '../../src/concurrency/lru-cache.js';

void t.test('a repeated text is computed once, and a long text is never cached', (t) => {
  const computed: string[] = [];
  const cache = new LruCache(2, (text) => computed.push(text));
  const [short, long] = ['pip/26.1', `pip/26.1 ${'x'.repeat(8000)}`];
  t.equal(cache.get(short), cache.get(short));
  t.not(cache.get(long), cache.get(long), 'long made-up texts would fill the memory');
  t.equal(computed.length, 3);
  t.end();
});

import t from 'tap';
import { LruCache } from '../../src/weblog/remembered.js';

void t.test('what comes again and again is looked at once, and no long text is kept', (t) => {
  const computed: string[] = [];
  const cache = new LruCache(2, (text) => computed.push(text));
  const [short, long] = ['pip/26.1', `pip/26.1 ${'x'.repeat(8000)}`];
  t.equal(cache.get(short), cache.get(short));
  t.not(cache.get(long), cache.get(long), 'each made up anew, they would fill the memory');
  t.equal(computed.length, 3);
  t.end();
});

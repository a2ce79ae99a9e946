import t from 'tap';
import { Remembered } from '../../src/weblog/remembered.js';

void t.test('what comes again and again is looked at once, and no long text is kept', (t) => {
  const looked: string[] = [];
  const remembered = new Remembered(2, (text) => looked.push(text));
  const [short, long] = ['pip/26.1', `pip/26.1 ${'x'.repeat(8000)}`];
  t.equal(remembered.get(short), remembered.get(short));
  t.not(remembered.get(long), remembered.get(long), 'each made up anew, they would fill the memory');
  t.equal(looked.length, 3);
  t.end();
});

import t from 'tap';
import { faqPage } from '../../src/site/faq.js';

const CANNOT = 'It can’t mirror this address';

t.test('the answer on mirrors says what bandersnatch can’t do with a farm below a path', (t) => {
  t.match(faqPage('https://host.example/wheels/'), CANNOT);
  t.match(faqPage('https://host.example/wheels/'), '<code>/wheels/</code>');
  for (const top of ['https://host.example/', null]) t.notMatch(faqPage(top), CANNOT);
  t.end();
});

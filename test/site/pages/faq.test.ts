import t from 'tap';
import { faqPage } from '../../../src/site/pages/faq.js';

const WARNING = 'bandersnatch can’t mirror this address';

t.test('the FAQ warns that bandersnatch can’t mirror a farm below a path', (t) => {
  t.match(faqPage('https://host.example/wheels/'), WARNING);
  t.match(faqPage('https://host.example/wheels/'), '<code>/wheels/</code>');
  for (const publicUrl of ['https://host.example/', null]) t.notMatch(faqPage(publicUrl), WARNING);
  t.end();
});

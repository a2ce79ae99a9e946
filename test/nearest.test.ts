import t from 'tap';
import { nearest } from '../src/nearest.js';

t.test('the nearest name is at most a third of its letters away', (t) => {
  const names = ['output-path', 'timeout', 'dsn', 'watch', 'watch-file'];
  const expected = {
    'output-pth': 'output-path',
    'ouptut-path': 'output-path',
    timout: 'timeout',
    dns: 'dsn',
    watchfile: 'watch-file',
    wacth: 'watch',
    colour: undefined,
    x: undefined,
  };
  t.strictSame(
    Object.fromEntries(Object.keys(expected).map((name) => [name, nearest(name, names)])),
    expected,
  );
  t.equal(nearest('x', []), undefined);
  t.end();
});

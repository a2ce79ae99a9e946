/**
 * Passes connections on for hosts outside (outside.ts), until it is ended:
 *
 *     node outside-forwarder.js SOCKET 'ADDRESS NAME'…
 */
import { forward } from './outside.js';

const [path = '', ...lines] = process.argv.slice(2);
for (const line of lines) {
  const [address = '', name = ''] = line.split(' ');
  await forward(path, address, name);
}
process.stdout.write('ready\n');

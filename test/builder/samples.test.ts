import { execFile } from 'node:child_process';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { writeSampleIndex } from '../../src/farm/sample-index.js';
import { skipUnlessInstalled } from '../helpers/missing.js';
import { interpreter, temporaryFolder, createTestBuilder } from './workshop.js';

const run = promisify(execFile);
const root = temporaryFolder(t);
const sampleNames = writeSampleIndex(root);

/** A static web server that serves index.html for a folder. */
const server = createServer((request, response) => {
  const path = join(root, new URL(request.url ?? '/', 'http://localhost').pathname);
  readFile(path.endsWith('/') ? join(path, 'index.html') : path).then(
    (contents) =>
      response
        .writeHead(200, { 'content-type': path.endsWith('/') ? 'text/html' : 'application/gzip' })
        .end(contents),
    () => response.writeHead(404).end(),
  );
});
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
t.teardown(() => {
  server.closeAllConnections();
  server.close();
});
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/simple`;

t.test('packing the samples again gives the same bytes', async (t) => {
  const otherRoot = temporaryFolder(t);
  t.strictSame(writeSampleIndex(otherRoot), sampleNames);
  const page = join('simple', 'piw-sample-native', 'index.html');
  t.equal(await readFile(join(otherRoot, page), 'utf8'), await readFile(join(root, page), 'utf8'));
});

t.test('two builds of a pure sample give the same bytes', async (t) => {
  const { builder, request } = createTestBuilder(t, url);
  const first = await builder.build(request('', { package: 'piw-sample-pure' }));
  const second = await builder.build(request('', { package: 'piw-sample-pure' }));
  t.ok(first.status && second.status, second.output);
  t.equal(second.files[0]?.filehash, first.files[0]?.filehash);
});

for (const name of sampleNames) {
  const skip = name.endsWith('-native') && skipUnlessInstalled('cc');
  t.test(`${name} builds without any other index, and its wheel can be imported`, { skip }, async (t) => {
    const { builder, request } = createTestBuilder(t, url);
    const result = await builder.build(request('', { package: name }));
    t.ok(result.status, result.output);
    const [file] = result.files;
    if (!file) return;
    const target = temporaryFolder(t);
    const { pyVersionTag, abiTag, platformTag } = interpreter;
    const native = [pyVersionTag, abiTag, platformTag];
    const tags = [file.py_version_tag, file.abi_tag, file.platform_tag];
    t.strictSame(tags, name.endsWith('-native') ? native : ['py3', 'none', 'any']);
    await run(interpreter.path, [
      '-m',
      'pip',
      'install',
      '-q',
      '--no-deps',
      '--no-index',
      '--target',
      target,
      file.path,
    ]);
    const module = name.replaceAll('-', '_');
    const { stdout } = await run(interpreter.path, ['-c', `import ${module}; print(${module}.hello())`], {
      env: { PYTHONPATH: target },
    });
    t.match(stdout, / by piw\n$/);
  });
}

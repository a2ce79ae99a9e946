import t from 'tap';
import { failureOf, refusedResult } from '../../../actors/slave-driver/result-rules.js';
import { NO_DETAILS } from '../../../src/model/build-details.js';
import { fileToMessage } from '../../../src/model/file-state.js';
import type { BuiltMessage } from '../../../src/protocols/slave-driver.js';

const REMARK = 'its extension demo._speedups is missing';
const FILE = fileToMessage({
  filename: 'demo-1.0-py3-none-any.whl',
  filesize: 1,
  filehash: '0'.repeat(64),
  package_tag: 'demo',
  package_version_tag: '1.0',
  py_version_tag: 'py3',
  abi_tag: 'none',
  platform_tag: 'any',
  requires_python: null,
  dependencies: {},
  transferred: false,
});
const SUCCESS: BuiltMessage = {
  lease: 7,
  status: true,
  failure_class: null,
  duration_s: 1,
  output: 'log',
  details: NO_DETAILS,
  files: [FILE],
};
const INCOMPLETE = { ...SUCCESS, details: { ...NO_DETAILS, remark: REMARK } };

t.test('a build is recorded as what its slave reported, with three exceptions', (t) => {
  t.equal(failureOf(SUCCESS, [], true), undefined);
  t.equal(failureOf(INCOMPLETE, [], false), undefined, 'an incomplete wheel may be published');
  t.match(failureOf(INCOMPLETE, [], true), {
    status: false,
    failure_class: 'incomplete',
    files: [],
    details: { reason: REMARK, remark: null },
  });
  t.match(failureOf(INCOMPLETE, ['no compiler'], false), {
    status: false,
    failure_class: 'no-compiler',
    files: [],
    details: { reason: 'the slave is at fault: no compiler', remark: null },
  });
  t.match(failureOf({ ...SUCCESS, files: [] }, [], false), {
    status: false,
    failure_class: 'no-wheel',
    details: { reason: 'the build succeeded but produced no wheel' },
  });
  const failure = { ...SUCCESS, status: false, failure_class: 'compiler' };
  t.same(failureOf(failure, [], false), { ...failure, files: [] }, 'the files of a failure are not wanted');
  t.end();
});

t.test('the log of a refused result says why', (t) => {
  t.match(refusedResult(SUCCESS, 'its name\nis wrong'), {
    status: false,
    failure_class: 'wrong-wheel',
    files: [],
    details: { reason: 'the master refused the result: its name is wrong' },
    output: 'log\npiw: the master refused the result: its name\nis wrong\n',
  });
  t.end();
});

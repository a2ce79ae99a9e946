import t from 'tap';
import { NO_DETAILS } from '../../src/model/build-details.js';
import { succeedingBuild, testMaster, testSlave, type BuildStub } from '../helpers/master.js';
import { until } from '../helpers/bus.js';

const REMARK = 'its optional extension demo._speedups is missing: it does not compile';
const pip: BuildStub = async (request, workDir) => ({
  ...(await succeedingBuild(request, workDir)),
  details: { ...NO_DETAILS, remark: REMARK },
});

for (const [incomplete, expected] of [
  ['publish', { status: true, failure_class: null, reason: null, remark: REMARK, files: 1 }],
  ['refuse', { status: false, failure_class: 'incomplete', reason: REMARK, remark: null, files: 0 }],
] as const) {
  void t.test(`a wheel that lacks its compiled part, with incomplete=${incomplete}`, async (t) => {
    const master = await testMaster(t, { overrides: { incomplete } });
    await testSlave(t, master.prefix, pip);
    const rows = () =>
      master.db.query<{ status: boolean }>(
        `select status, failure_class, reason, remark, (select count(*)::int from files) as files from builds`,
      );
    await until(async () => (await rows()).length > 0);
    t.match(await rows(), [expected]);
  });
}

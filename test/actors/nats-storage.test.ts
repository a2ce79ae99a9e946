import t from 'tap';
import { userBucketName } from '../../src/protocols/file-juggler.js';
import { NO_DETAILS } from '../../src/model/build-details.js';
import { testBus, until } from '../helpers/bus.js';
import { succeedingBuild, testMaster, testSlave, type BuildStub } from '../helpers/master.js';

t.setTimeout(120_000);

void t.test(
  'builds are delivered even if NATS loses the buckets that their bytes pass through',
  async (t) => {
    const { bus, db, prefix } = await testMaster(t, { versions: ['1.0', '2.0'] });
    const bucket = userBucketName(prefix, 'slave');
    const { streams } = await bus.connection.jetstreamManager();
    // One produces a wheel, the other a log that is too large for one message.
    const pip: BuildStub = async (request, workDir) => {
      await streams.delete(`${request.version === '1.0' ? 'OBJ' : 'MSG'}_${bucket}`);
      if (request.version === '1.0') return await succeedingBuild(request, workDir);
      const output = 'a line of a log\n'.repeat(80_000);
      return {
        status: false,
        failureClass: 'compiler',
        durationS: 1,
        output,
        details: NO_DETAILS,
        files: [],
      };
    };
    await testSlave(t, prefix, pip, { bus: await testBus(t, prefix, { bucket }) });
    await until(async () => (await db.query('select 1 from builds')).length === 2, 60_000);
    t.match(await db.query('select status from builds order by status'), [
      { status: false },
      { status: true },
    ]);
    t.equal((await streams.info(`MSG_${bucket}`)).config.name, `MSG_${bucket}`, 'it was recreated');
  },
);

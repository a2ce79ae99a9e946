import t from 'tap';
import { parseAddress } from '../../src/bus/address.js';
import { publicKeyOf } from '../../src/bus/nkey.js';
import { encode } from '../../src/bus/codec.js';
import { PiwError } from '../../src/errors.js';
import { until } from '../helpers/bus.js';
import { RawNats } from '../helpers/raw-nats.js';
import { STATS, startHostileFarm } from './stage.js';

t.setTimeout(280_000);

void t.test('a slave reaches nothing on NATS except its own subjects', async (t) => {
  const farm = await startHostileFarm(t, 5);
  const { mallory, bus, addresses } = farm;
  const { raw } = mallory;
  await mallory.hello('s');
  const victim = await RawNats.connect(addresses.victim);
  t.teardown(() => {
    victim.close();
  });
  const bucket = { name: 'piw-slave-victim', maxAgeMs: 600_000, maxBytes: 1e8 };
  await bus.objects.buckets.ensure(bucket);
  const storeVictimObject = () => bus.objects.write(bucket.name, 'precious.a', Buffer.from('the victim’s'));
  const countVictimObjects = () => bus.objects.countChunks(bucket.name, 'precious.*');
  await storeVictimObject();

  /** Expects that the server refuses an operation, and logs that. */
  const expectRefused = async (operation: string, subject: string, action: () => void) => {
    const before = raw.errors.length;
    farm.markLog();
    action();
    await raw.flush();
    const kind = operation === 'subscribe' ? 'Subscription' : 'Publish';
    t.match(raw.errors.slice(before).join(), /Permissions Violation/, `${operation} ${subject}`);
    await until(() => farm.newLogs().includes(`${kind} Violation - Subject "${subject}"`)).catch(() => {
      t.fail(`the log says nothing about ${operation} ${subject}`);
    });
  };
  const publish = (subject: string, body: Uint8Array = encode(['IDLE', STATS])) =>
    expectRefused('publish', subject, () => {
      raw.publish(subject, body);
    });
  const subscribe = (subject: string, queue?: string) =>
    expectRefused('subscribe', subject, () => {
      raw.subscribe(subject, queue);
    });

  await t.test('subjects of another slave are refused', async () => {
    await publish('piw.slave.victim.s.HELLO');
    await publish('piw.slave.victim.s.BYE', encode(['BYE']));
    await publish('piw.slave.victim.s.file.HELLO');
    await publish('piw.slave.importer.s.file.HELLO');
    await publish('_INBOX_victim.x.y', encode(['BYE', 'go away']));
    await publish('piw.wake.victim.s.WAKE', encode(['WAKE']));
    await publish('$O.piw-slave-victim.C.precious.a', Buffer.from('mine'));
    await publish('$O.piw-slave-victim.C.file.precious.a', Buffer.from('mine'));
    await publish('$O.piw-slave-victim.C.claim.precious', Buffer.from('mine'));
    await publish('$O.piw-slave-victim.M.cHJlY2lvdXM', Buffer.from('mine'));
    await subscribe('_INBOX_victim.>');
    await subscribe('piw.wake.victim.>');
    await subscribe('piw.wake.*.s.*');
    await subscribe('piw.slave.victim.>');
  });
  await t.test('wildcards are refused', async () => {
    for (const subject of [
      '>',
      '*',
      '*.*',
      'piw.>',
      'piw.slave.>',
      '_INBOX.>',
      '$O.>',
      '$JS.>',
      '$SYS.>',
      '$KV.>',
      '_R_.>',
    ])
      await subscribe(subject);
    // An attempt to answer in the master's place.
    await subscribe('piw.slave.*.*.*', 'slave-driver');
  });
  await t.test('JetStream’s subjects are refused', async () => {
    for (const call of [
      'INFO',
      'STREAM.LIST',
      'STREAM.CREATE.MINE',
      'STREAM.DELETE.OBJ_piw-slave-victim',
      'STREAM.PURGE.OBJ_piw-slave-victim',
      'STREAM.UPDATE.OBJ_piw-slave-mallory',
      'STREAM.MSG.GET.OBJ_piw-slave-victim',
      'STREAM.SNAPSHOT.OBJ_piw-slave-victim',
      'CONSUMER.CREATE.OBJ_piw-slave-victim',
      'DIRECT.GET.OBJ_piw-slave-victim',
      'META.LEADER.STEPDOWN',
    ])
      await publish(`$JS.API.${call}`, Buffer.from(''));
    await publish('$JS.ACK.OBJ_piw-slave-victim.x.1.1.1.1.1');
    await publish('$KV.piw-leaders.slave-driver', Buffer.from('mallory'));
    await publish('$O.piw-claims.C.x', Buffer.from('x'));
  });
  await t.test('the farm’s subjects are refused', async () => {
    await publish('$SYS.REQ.SERVER.PING', Buffer.from(''));
    await publish('_R_.guessed.reply', encode(['DONE']));
    for (const subject of [
      'oracle.DELPKG',
      'orders.QUIT',
      'control.QUIT',
      'slaves.KILL',
      'slaves.FOLLOW',
      'builds.NEXT',
      'build-hints.READY',
      'file-juggler.VERIFY',
      'file-juggler.REMOVE',
      'chase.s.REMPKG',
      'secretary.PKG',
      'scribe.PKG',
      'lumberjack.LOGENTRIES',
      'status.BUILD',
      'feed.ACCEPT',
    ])
      await publish(`piw.${subject}`);
  });

  await t.test('an answer goes only to the sender of the request', async (t) => {
    const received: string[] = [];
    const spy = bus.subscribe('piw.forged.>');
    const listening = (async () => {
      for await (const { subject } of spy) received.push(subject);
    })();
    const leaderBucket = () => bus.connection.jetstream().views.kv('piw-leaders');
    const holder = async () => (await (await leaderBucket()).get('slave-driver'))?.string();
    const before = await holder();
    t.ok(before);
    await mallory.storeChunk('mine', 0, Buffer.from('x'));
    const targets = [
      'piw.forged.answer',
      'piw.orders.QUIT',
      '$KV.piw-leaders.slave-driver',
      '$KV.piw-leaders.the-architect',
      '$JS.API.STREAM.PURGE.OBJ_piw-slave-victim',
      '$JS.API.STREAM.MSG.DELETE.OBJ_piw-slave-victim',
      '$JS.API.STREAM.DELETE.OBJ_piw-slave-victim',
      '$O.piw-slave-victim.C.precious.a',
      '_INBOX_victim.x.y',
    ];
    for (const reply of targets) {
      // An answer of the Slave Driver; an acknowledgement by JetStream; the same for metadata; a request that
      // nobody serves.
      raw.publish(mallory.subject('s', 'IDLE'), encode(['IDLE', STATS]), { reply });
      raw.publish('$O.piw-slave-mallory.C.mine.x', Buffer.from('x'), { reply });
      raw.publish('$O.piw-slave-mallory.C.file.mine.x', Buffer.from('x'), { reply });
      raw.publish('$O.piw-slave-mallory.C.claim.mine', Buffer.from('x'), { reply });
      raw.publish('$O.piw-slave-mallory.M.mine', Buffer.from('x'), { reply });
      raw.publish(mallory.subject('s', 'nobody', 'HEARS'), Buffer.from(''), { reply });
    }
    await raw.flush();
    await mallory.hello('s');
    await bus.rtt();
    t.equal(await holder(), before, 'the lease has the same holder');
    t.equal(await countVictimObjects(), 1, 'the victim’s object is still there');
    t.same(received, [], 'nobody in the farm has received anything');
    await spy.stop();
    await listening;
  });

  await t.test('a client cannot connect as somebody else', async (t) => {
    const cases: [string, Parameters<typeof RawNats.connect>[1]][] = [
      ['a key without its signature', { sig: '' }],
      ['a signature of something else', { sig: Buffer.alloc(64, 7).toString('base64url') }],
      [
        'the victim’s key with its own signature',
        { nkey: publicKeyOf(parseAddress(addresses.victim).seed ?? '') },
      ],
      ['the master’s name with a guessed password', { nkey: '', sig: '', user: 'master', pass: 'master' }],
      ['no credentials', { nkey: '', sig: '' }],
    ];
    for (const [title, overrides] of cases) {
      farm.markLog();
      const client = await RawNats.connect(addresses.mallory, overrides).catch((error: unknown) => error);
      if (!(client instanceof RawNats)) throw new PiwError('PIW_INTERNAL', `no connection for ${title}`);
      await until(() => client.closed);
      t.match(client.errors.join(), /Authorization Violation|authorization/i, title);
      await until(() => farm.newLogs().includes('authentication error'));
    }
  });

  t.equal(await countVictimObjects(), 1);
  t.equal(raw.closed, false);
  t.same(
    raw.received.filter(({ subject }) => !subject.startsWith('_INBOX_mallory')),
    [],
    'it has received nothing',
  );
  await farm.assertUnharmed(t);
});

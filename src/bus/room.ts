import type { NatsConnection } from 'nats';

/** What is used here of the client library's parser, which isn't its public interface. */
interface Parser {
  parse(bytes: Uint8Array): void;
  /** The message that is being read: its size, bytes. */
  readonly ma?: { readonly size: number };
  /** What has come of it, where it came in several reads. */
  readonly msgBuf?: { _buf: Uint8Array };
}

const roomy = new WeakSet<object>();

/** Rooms of large messages that are to be used again: no more than KEPT, of at least LARGE bytes. */
const rooms: ArrayBuffer[] = [];
const LARGE = 256 * 1024;
const KEPT = 4;

/** The bytes of a message are done with: nobody may look at them any more. */
export function giveBack({ buffer, byteLength }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && byteLength >= LARGE && rooms.length < KEPT) rooms.push(buffer);
}

function roomFor(size: number): ArrayBuffer {
  const at = rooms.findIndex(({ byteLength }) => byteLength >= size && byteLength < size + LARGE);
  return (at < 0 ? undefined : rooms.splice(at, 1)[0]) ?? new ArrayBuffer(size);
}

/**
 * Gives a message that comes in several reads room for all of it at once, and uses that again where it was given
 * back. The client library (nats 2.29) doubles its buffer as the bytes come, which is 1.6 MB of garbage and two
 * copies for each message of 512 KB: a third of the processor time of whoever reads a large file. This reaches into
 * the library's own objects; where they aren't as they are known here, nothing is changed.
 */
export function makeRoom(connection: NatsConnection): void {
  const parser = (connection as unknown as { protocol?: { parser?: Parser } }).protocol?.parser;
  if (typeof parser?.parse !== 'function') return;
  const shared = Object.getPrototypeOf(parser) as Parser;
  if (roomy.has(shared)) return;
  roomy.add(shared);
  const parse = (bytes: Uint8Array, its: Parser) => {
    plain.call(its, bytes);
    const begun = its.msgBuf?._buf;
    const size = its.ma?.size ?? 0;
    if (!its.msgBuf || !(begun instanceof Uint8Array) || begun.buffer.byteLength >= size) return;
    const room = new Uint8Array(roomFor(size), 0, begun.length);
    room.set(begun);
    its.msgBuf._buf = room;
  };
  // eslint-disable-next-line @typescript-eslint/unbound-method
  const plain = shared.parse;
  shared.parse = function (this: Parser, bytes: Uint8Array) {
    parse(bytes, this);
  };
}

/**
 * Text of a log, which is read byte by byte as Latin-1: every byte is a character then, and a line that isn't
 * UTF-8 is a line like any other. What is kept of it is turned into UTF-8.
 */

/** `\xhh` is a byte (Apache, nginx); `\"` and `\\` stand for themselves (Apache); `\n` and the like are of no use. */
export function unescapeLogText(raw: string): string {
  if (!raw.includes('\\')) return raw;
  return raw.replace(/\\(?:x([0-9A-Fa-f]{2})|(.))/g, (_, hex: string | undefined, char: string) => {
    if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
    return char === '"' || char === '\\' || char === '/' ? char : ' ';
  });
}

/** Bytes as UTF-8; what isn't becomes U+FFFD. */
export function decodeUtf8(bytes: string): string {
  return /[\u0080-\u00ff]/.test(bytes) ? Buffer.from(bytes, 'latin1').toString('utf8') : bytes;
}

// eslint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u001f\u007f-\u009f]+/g;
const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/**
 * Text from outside as it may be kept: a copy of at most so many characters, without what moves a cursor or is no
 * text at all. It is a copy because a piece of a string keeps all of it in memory.
 */
export function clean(text: string, limit: number): string {
  const plain = text.replace(CONTROL, ' ').slice(0, limit).replace(LONE_SURROGATE, '\ufffd');
  return Buffer.from(plain, 'utf8').toString('utf8');
}

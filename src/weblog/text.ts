/**
 * Text of a log. Lines are decoded as Latin-1, one character per byte, so that a line that is not UTF-8 is a line like
 * any other. Only text that is kept is converted to UTF-8.
 */

/** Decodes escapes: `\xhh` is a byte (Apache, nginx); `\"` and `\\` are literal (Apache); others become a space. */
export function unescapeLogText(raw: string): string {
  if (!raw.includes('\\')) return raw;
  return raw.replace(/\\(?:x([0-9A-Fa-f]{2})|(.))/g, (_, hex: string | undefined, char: string) => {
    if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
    return char === '"' || char === '\\' || char === '/' ? char : ' ';
  });
}

/** Decodes bytes (as Latin-1 characters) as UTF-8; invalid ones become U+FFFD. */
export function decodeUtf8(bytes: string): string {
  return /[\u0080-\u00ff]/.test(bytes) ? Buffer.from(bytes, 'latin1').toString('utf8') : bytes;
}

// eslint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u001f\u007f-\u009f]+/g;
const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/**
 * Makes text from outside safe to keep: at most `limit` characters, without control characters and lone surrogates.
 * Returns a copy, because a slice of a string keeps the whole string in memory.
 */
export function clean(text: string, limit: number): string {
  const plain = text.replace(CONTROL, ' ').slice(0, limit).replace(LONE_SURROGATE, '\ufffd');
  return Buffer.from(plain, 'utf8').toString('utf8');
}

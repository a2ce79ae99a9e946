import { rememberLast } from './remember-last.js';

/** Characters that JSON may have to escape. Most texts have none. */
const NEEDS_ESCAPE = /[^ !#-[\]-~]/;
/** Text that needs no encoding in a URL, and no escaping in HTML or JSON. */
const URL_SAFE = /^[\w.-]*$/;

/** Escapes text for a place between quotes in JSON. Text without special characters is not copied. */
export const escapeJson = (text: string): string =>
  NEEDS_ESCAPE.test(text) ? JSON.stringify(text).slice(1, -1) : text;

/** Returns text, or null, as JSON. */
export const jsonText = (text: string | null): string => (text === null ? 'null' : `"${escapeJson(text)}"`);

/** Returns requires-python as JSON. Neighbouring files of a project mostly have the same. */
export const requiresPythonJson = rememberLast(jsonText);

/** Encodes one segment of a URL path. The result needs no escaping in JSON. */
export const urlSegment = (text: string): string => (URL_SAFE.test(text) ? text : encodeURIComponent(text));

/** Returns true for a filename that is the same in a URL, in HTML and in JSON, as most are: one check instead of three. */
export const isPlainFilename = (filename: string): boolean => URL_SAFE.test(filename);

import type { BuildDetails } from '../protocols/fields.js';

/** The details of a build of which nothing more is known than its class and its log. */
export const NO_DETAILS: BuildDetails = { reason: null, remark: null, provenance: null };

/** Returns `text` as `Sentence` in protocols/fields.ts admits it: on one line, at most 1024 characters. */
export function toSentence(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').slice(0, 1024);
}

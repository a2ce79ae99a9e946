import type { BuildDetails } from './fields.js';

/** The details of a build about which only its failure class and its log are known. */
export const NO_DETAILS: BuildDetails = { reason: null, remark: null, provenance: null };

/** Returns `text` in the form that `Sentence` in model/fields.ts requires: one line, at most 1024 characters. */
export function toSentence(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').slice(0, 1024);
}

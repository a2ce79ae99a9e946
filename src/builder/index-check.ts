import type { Failure } from './failure.js';

/**
 * What pip's own words about an index's page (`pip index versions -vv`) tell when it could not have it,
 * which `pip wheel` doesn't say: there, an index that answers with an error has "no matching
 * distribution", like one that hasn't the package. Undefined where the index did answer (with a page, or
 * that it has none: 404, 410). The wordings are those of pip 23.0 to 26.3.
 */
export function indexFailure(output: string): Failure | undefined {
  const line = output
    .split('\n')
    .findLast((one) => one.includes('Could not fetch URL') && !/: (?:404|410) Client Error/.test(one));
  if (line === undefined) return undefined;
  const status = /: (\d{3}) (?:Client|Server) Error|too many (\d{3}) error responses/.exec(line);
  const code = status?.[1] ?? status?.[2];
  if (code === undefined) return { failureClass: 'network', sentence: 'the index could not be reached' };
  return {
    failureClass: 'index',
    sentence:
      code === '401' || code === '403'
        ? `the index answered with status ${code}: user and password are missing, or wrong`
        : `the index answered with status ${code}`,
  };
}

/**
 * Whether an index gave a page, by the same words, and nothing was listed on it: no link that is a file's, of whatever
 * kind. That is what an index's own "back soon" looks like, or that of somebody who stands between.
 */
export const listsNoFiles = (output: string): boolean =>
  output.includes('Fetched page ') && !/Found link |Skipping link: (?!not a file)/.test(output);

import type { Failure } from './failure.js';

/**
 * Returns why pip could not fetch an index page, by the output of `pip index versions -vv`; undefined if the index
 * answered with a page, or that it has none (404, 410). `pip wheel` does not say this: it reports "no matching
 * distribution" both for an index that answers with an error and for one that lacks the package. The wordings are
 * those of pip 23.0 to 26.3.
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
        ? `the index answered with status ${code}: the user and password are missing or wrong`
        : `the index answered with status ${code}`,
  };
}

/**
 * Returns whether the index answered with a page that lists no files of any kind, by the same output. A maintenance
 * page of the index, or of a proxy in front of it, looks like that.
 */
export const listsNoFiles = (output: string): boolean =>
  output.includes('Fetched page ') && !/Found link |Skipping link: (?!not a file)/.test(output);

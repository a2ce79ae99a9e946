import { rethrowUnexpected } from '../errors.js';
import { fetchPage, redactUrl } from '../pypi/http.js';
import { findingOf, type Check, type Finding } from './check.js';

/** A project of which every index has a page, or answers that it has none. */
const ASKED_PROJECT = 'pip';
const ANSWER_TIMEOUT_MS = 10_000;
const RETRY_DELAY_MS = 200;

/** Whether the followed index answers: without it, no release is seen, and no source is downloaded. */
export const followedIndex: Check = {
  name: 'index',
  applies: ({ roles }) => roles.has('master'),
  run: async ({ settings }) => {
    const url = settings['pypi-simple'].replace(/\/*$/, '');
    const fix = `check the network and the proxy (HTTPS_PROXY) of this user: curl -I ${redactUrl(url)}/; or correct pypi-simple`;
    try {
      const { status } = await fetchPage(
        `${url}/${ASKED_PROJECT}/`,
        { accept: 'application/vnd.pypi.simple.v1+json, text/html;q=0.5' },
        { contact: settings.contact, timeoutMs: ANSWER_TIMEOUT_MS, retryDelayMs: RETRY_DELAY_MS },
      );
      return answerFindings(redactUrl(url), status);
    } catch (error) {
      rethrowUnexpected(error);
      return [findingOf(error, fix)];
    }
  },
};

function answerFindings(url: string, status: number): readonly Finding[] {
  if (status < 400 || status === 404) return [];
  return [
    status === 401 || status === 403
      ? {
          problem: `${url} answers with status ${status}: the user and password are missing or wrong`,
          fix: 'set pypi-simple (or pypi-simple-file) to https://USER:PASSWORD@HOST/simple',
        }
      : { problem: `${url} answers with status ${status}`, fix: 'correct pypi-simple' },
  ];
}

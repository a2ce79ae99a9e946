import type { ServerResponse } from 'node:http';
import { pick, type RandomSource } from '../random.js';
import type { PypiFault } from './misbehaviour.js';
import { faultXml } from './xmlrpc.js';

export interface PypiResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export const NOT_FOUND: PypiResponse = {
  status: 404,
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ message: 'Not Found' }),
};
const TOO_MANY_MESSAGE =
  'HTTPTooManyRequests: The action could not be performed because there were too many requests by the client. ' +
  'Limit may reset in 1 seconds.';
const ERROR_PAGE =
  '<!DOCTYPE html>\n<html><head><title>Error</title></head><body><h1>Sorry, something went wrong</h1>' +
  '<p><a href="https://status.python.org/">Status</a></p></body></html>\n';

export const redirect = (location: string): PypiResponse => ({
  status: 301,
  headers: { location, 'content-type': 'text/html' },
  body: '',
});

/** Applies a fault to the content of an answer; sendResponse() applies those of the connection. */
export function applyFault(
  answer: PypiResponse,
  isCall: boolean,
  fault: PypiFault | undefined,
  random: RandomSource,
): PypiResponse {
  switch (fault) {
    case 'throttle':
      return isCall ? { ...answer, body: faultXml(-32500, TOO_MANY_MESSAGE) } : tooManyRequests(1);
    case 'leaveAlone':
      return tooManyRequests(60);
    case 'serverError':
      return {
        status: pick(random, [500, 502, 503]) ?? 500,
        headers: { 'content-type': 'text/html' },
        body: ERROR_PAGE,
      };
    case 'htmlPage':
      return { status: 200, headers: { 'content-type': 'text/html; charset=UTF-8' }, body: ERROR_PAGE };
    case 'cutXml':
      return { ...answer, body: firstHalf(answer.body) };
    case 'truncatedJson':
      return answer.headers['content-type']?.includes('json')
        ? { ...answer, body: firstHalf(answer.body) }
        : answer;
    default:
      return answer;
  }
}

const tooManyRequests = (seconds: number): PypiResponse => ({
  status: 429,
  headers: { 'retry-after': String(seconds), 'content-type': 'text/plain' },
  body: 'slow down',
});

const firstHalf = (body: string): string => body.slice(0, Math.floor(body.length / 2));

/** Sends an answer, with a fault of the connection if there is one. */
export function sendResponse(
  response: ServerResponse,
  { status, headers, body }: PypiResponse,
  fault: PypiFault | undefined,
): void {
  const bytes = Buffer.from(body);
  const leadingHalf = bytes.subarray(0, Math.floor(bytes.length / 2));
  switch (fault) {
    case 'hang':
      return;
    case 'cutBefore':
      response.destroy();
      return;
    case 'cutMiddle':
    case 'halfBody':
      // The first half must have been sent before the connection ends.
      response.writeHead(
        status,
        fault === 'halfBody' ? { ...headers, 'content-length': bytes.length } : headers,
      );
      response.write(leadingHalf, () => response.destroy());
      return;
    default: {
      const length = status === 304 ? {} : { 'content-length': bytes.length };
      response.writeHead(status, { ...headers, ...length }).end(bytes);
    }
  }
}

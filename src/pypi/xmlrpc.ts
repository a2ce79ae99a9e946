import { Parser } from 'htmlparser2';
import { PiwError } from '../errors.js';
import { ThrottledError, fetchPage, redactUrl, type HttpOptions } from './http.js';

type Scalar = string | number | boolean | null;
export type XmlRpcValue = Scalar | readonly XmlRpcValue[] | { readonly [name: string]: XmlRpcValue };

/** Statuses that mean that there is no XML-RPC service at this address. */
const NO_XMLRPC_STATUSES: ReadonlySet<number> = new Set([404, 405, 410, 501]);

/** PyPI's fault code for too many requests. */
const RATE_LIMIT_FAULT = -32500;
/** How long to wait if the fault doesn't say, milliseconds. */
const DEFAULT_RATE_LIMIT_WAIT_MS = 10_000;
/** 50,000 events are about 15 MB. */
const MAX_RESPONSE_BYTES = 128 * 1024 * 1024;

/**
 * Calls a method with integer parameters and returns its value. Throws ThrottledError; PIW_NO_CHANGELOG if there is no
 * XML-RPC service; PIW_INDEX for a fault, or for an answer that isn't a complete XML-RPC response.
 */
export async function callXmlRpc(
  url: string,
  method: string,
  parameters: readonly number[],
  options: HttpOptions = {},
): Promise<XmlRpcValue> {
  const values = parameters.map((value) => `<param><value><int>${value}</int></value></param>`);
  const page = await fetchPage(
    url,
    { 'content-type': 'text/xml', accept: 'text/xml' },
    {
      maxBytes: MAX_RESPONSE_BYTES,
      ...options,
      body: `<?xml version="1.0"?><methodCall><methodName>${method}</methodName><params>${values.join('')}</params></methodCall>`,
    },
  );
  if (NO_XMLRPC_STATUSES.has(page.status))
    throw new PiwError('PIW_NO_CHANGELOG', `${page.url} answered with status ${page.status}`);
  if (page.status !== 200) throw new PiwError('PIW_INDEX', `${page.url} answered with status ${page.status}`);
  const response = parseResponse(page.body);
  if (response === undefined) {
    throw new PiwError('PIW_INDEX', `${page.url} did not answer with a complete XML-RPC response`);
  }
  if (!('fault' in response)) return response.value;
  const { code, text } = parseFault(response.fault);
  const message = `${redactUrl(url)}: ${text} (fault ${code})`;
  if (code !== RATE_LIMIT_FAULT) throw new PiwError('PIW_INDEX', message);
  const seconds = /reset in (\d+) second/.exec(text)?.[1];
  throw new ThrottledError(
    message,
    seconds === undefined ? DEFAULT_RATE_LIMIT_WAIT_MS : Number(seconds) * 1000,
  );
}

function parseFault(fault: XmlRpcValue): { readonly code: number; readonly text: string } {
  const members = typeof fault === 'object' && fault !== null && !Array.isArray(fault) ? fault : {};
  const { faultCode: code, faultString: text } = members as Readonly<Record<string, XmlRpcValue | undefined>>;
  return {
    code: typeof code === 'number' ? code : 0,
    text: typeof text === 'string' ? text : 'unknown fault',
  };
}

interface OpenElement {
  readonly name: string;
  text: string;
  /** The value of its child element. */
  value: XmlRpcValue | undefined;
  readonly items: XmlRpcValue[];
  readonly members: Record<string, XmlRpcValue>;
  member: string;
}

type XmlRpcResponse = { readonly value: XmlRpcValue } | { readonly fault: XmlRpcValue };

/** Parses a methodResponse; returns undefined if it is invalid or incomplete. */
function parseResponse(xml: string): XmlRpcResponse | undefined {
  const stack: OpenElement[] = [];
  let response: XmlRpcResponse | undefined;
  const state = { complete: false, invalid: false };
  const parser = new Parser(
    {
      onopentag(name) {
        stack.push({ name, text: '', value: undefined, items: [], members: {}, member: '' });
      },
      ontext(text) {
        const open = stack.at(-1);
        if (open) open.text += text;
      },
      onclosetag(name, implied) {
        const element = stack.pop();
        // An empty element may be closed implicitly, as <nil/> is; any other has no end tag.
        const isEmpty = element?.text === '' && element.value === undefined;
        if (element?.name !== name || (implied && !isEmpty)) state.invalid = true;
        const parent = stack.at(-1);
        if (!element || state.invalid) return;
        if (name === 'methodResponse') state.complete = stack.length === 0;
        if (!parent) return;
        if (name === 'name') parent.member = element.text;
        else if (name === 'value') {
          // Text without a type element is a string.
          const value = element.value === undefined ? element.text : element.value;
          if (parent.name === 'data') parent.items.push(value);
          else if (parent.name === 'fault') response = { fault: value };
          else if (parent.name === 'param') response = { value };
          else parent.value = value;
        } else if (name === 'data') parent.value = element.items;
        else if (name === 'member') parent.members[element.member] = element.value ?? null;
        else if (parent.name === 'value') parent.value = elementValue(element);
      },
    },
    { xmlMode: true, decodeEntities: true },
  );
  parser.write(xml);
  // end() would close open elements implicitly.
  const isTruncated = stack.length > 0;
  parser.end();
  return state.invalid || isTruncated || !state.complete ? undefined : response;
}

function elementValue(element: OpenElement): XmlRpcValue {
  switch (element.name) {
    case 'int':
    case 'i4':
    case 'i8':
    case 'double':
      return Number(element.text);
    case 'boolean':
      return element.text.trim() === '1';
    case 'nil':
    case 'ex:nil':
      return null;
    case 'array':
      return element.value ?? [];
    case 'struct':
      return element.members;
    default:
      return element.text;
  }
}

import { Parser } from 'htmlparser2';
import { PiwError } from '../errors.js';
import { Throttled, fetchPage, redactUrl, type HttpOptions } from './http.js';

type Scalar = string | number | boolean | null;
export type XmlRpcValue = Scalar | readonly XmlRpcValue[] | { readonly [name: string]: XmlRpcValue };

/** Statuses that say that nobody speaks XML-RPC there. */
const NOT_THERE: ReadonlySet<number> = new Set([404, 405, 410, 501]);

/** What PyPI answers to one who asks too often. */
const TOO_MANY = -32500;
/** How long to leave it alone when it doesn't say, milliseconds. */
const LEAVE_ALONE_MS = 10_000;
/** 50,000 events are about 15 MB. */
const MAX_BYTES = 128 * 1024 * 1024;

/**
 * Calls a method with integers for parameters, and gives its value. Raises Throttled; PIW_NO_CHANGELOG where
 * nobody speaks XML-RPC; or PIW_INDEX: a fault, or an answer that is no whole XML-RPC response.
 */
export async function callXmlRpc(
  url: string,
  method: string,
  parameters: readonly number[],
  options: HttpOptions = {},
): Promise<XmlRpcValue> {
  const values = parameters.map((value) => `<param><value><int>${String(value)}</int></value></param>`);
  const page = await fetchPage(
    url,
    { 'content-type': 'text/xml', accept: 'text/xml' },
    {
      maxBytes: MAX_BYTES,
      ...options,
      body: `<?xml version="1.0"?><methodCall><methodName>${method}</methodName><params>${values.join('')}</params></methodCall>`,
    },
  );
  if (NOT_THERE.has(page.status))
    throw new PiwError('PIW_NO_CHANGELOG', `${page.url} answered with status ${String(page.status)}`);
  if (page.status !== 200)
    throw new PiwError('PIW_INDEX', `${page.url} answered with status ${String(page.status)}`);
  const response = parseResponse(page.body);
  if (response === undefined) {
    throw new PiwError('PIW_INDEX', `${page.url} did not answer with a whole XML-RPC response`);
  }
  if (!('fault' in response)) return response.value;
  const { code, text } = faultOf(response.fault);
  const said = `${redactUrl(url)}: ${text} (fault ${String(code)})`;
  if (code !== TOO_MANY) throw new PiwError('PIW_INDEX', said);
  const seconds = /reset in (\d+) second/.exec(text)?.[1];
  throw new Throttled(said, seconds === undefined ? LEAVE_ALONE_MS : Number(seconds) * 1000);
}

function faultOf(fault: XmlRpcValue): { readonly code: number; readonly text: string } {
  const its = typeof fault === 'object' && fault !== null && !Array.isArray(fault) ? fault : {};
  const { faultCode: code, faultString: text } = its as Readonly<Record<string, XmlRpcValue | undefined>>;
  return { code: typeof code === 'number' ? code : 0, text: typeof text === 'string' ? text : 'a fault' };
}

interface Open {
  readonly name: string;
  text: string;
  /** The value inside of it. */
  value: XmlRpcValue | undefined;
  readonly items: XmlRpcValue[];
  readonly members: Record<string, XmlRpcValue>;
  member: string;
}

type Response = { readonly value: XmlRpcValue } | { readonly fault: XmlRpcValue };

/** The value, or the fault, of a methodResponse; undefined if it is not one, or not whole. */
export function parseResponse(xml: string): Response | undefined {
  const stack: Open[] = [];
  let response: Response | undefined;
  const state = { whole: false, bad: false };
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
        const open = stack.pop();
        // An empty element may end itself, as <nil/> does; any other one that does was never closed.
        const empty = open?.text === '' && open.value === undefined;
        if (open?.name !== name || (implied && !empty)) state.bad = true;
        const parent = stack.at(-1);
        if (!open || state.bad) return;
        if (name === 'methodResponse') state.whole = stack.length === 0;
        if (!parent) return;
        if (name === 'name') parent.member = open.text;
        else if (name === 'value') {
          // Text that stands in no element is a string.
          const value = open.value === undefined ? open.text : open.value;
          if (parent.name === 'data') parent.items.push(value);
          else if (parent.name === 'fault') response = { fault: value };
          else if (parent.name === 'param') response = { value };
          else parent.value = value;
        } else if (name === 'data') parent.value = open.items;
        else if (name === 'member') parent.members[open.member] = open.value ?? null;
        else if (parent.name === 'value') parent.value = valueOf(open);
      },
    },
    { xmlMode: true, decodeEntities: true },
  );
  parser.write(xml);
  // At the end the parser would close by itself what is open.
  const cut = stack.length > 0;
  parser.end();
  return state.bad || cut || !state.whole ? undefined : response;
}

function valueOf(open: Open): XmlRpcValue {
  switch (open.name) {
    case 'int':
    case 'i4':
    case 'i8':
    case 'double':
      return Number(open.text);
    case 'boolean':
      return open.text.trim() === '1';
    case 'nil':
    case 'ex:nil':
      return null;
    case 'array':
      return open.value ?? [];
    case 'struct':
      return open.members;
    default:
      return open.text;
  }
}

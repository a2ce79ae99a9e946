/** The part of XML-RPC's values that PyPI uses. */
export type XmlValue = string | number | null | readonly XmlValue[];

export interface XmlRpcCall {
  readonly method: string;
  readonly params: readonly (string | number)[];
}

export const escapeXml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

const unescapeXml = (text: string): string =>
  text.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&quot;', '"').replaceAll('&amp;', '&');

/** Parses a call whose parameters are numbers and strings; returns undefined for anything else. */
export function parseCall(body: string): XmlRpcCall | undefined {
  const method = /<methodName>\s*([\w.]+)\s*<\/methodName>/.exec(body)?.[1];
  if (method === undefined || !/<\/methodCall>\s*$/.test(body)) return undefined;
  const params = [...body.matchAll(/<param>\s*<value>([^]*?)<\/value>\s*<\/param>/g)].map(
    ([, value = '']) => {
      const number = /^\s*<(int|i4|i8)>\s*(-?\d+)\s*<\/\1>\s*$/.exec(value)?.[2];
      return number === undefined ? unescapeXml(value.replace(/<\/?string>/g, '')) : Number(number);
    },
  );
  return { method, params };
}

function valueXml(value: XmlValue): string {
  if (value === null) return '<value><nil/></value>';
  if (typeof value === 'number') return `<value><int>${value}</int></value>`;
  if (typeof value === 'string') return `<value><string>${escapeXml(value)}</string></value>`;
  return `<value><array><data>\n${value.map(valueXml).join('\n')}\n</data></array></value>`;
}

const RESPONSE_HEAD = "<?xml version='1.0'?>\n<methodResponse>\n";

/** Formats a response as Python's xmlrpc.client does. */
export const responseXml = (value: XmlValue): string =>
  `${RESPONSE_HEAD}<params>\n<param>\n${valueXml(value)}\n</param>\n</params>\n</methodResponse>\n`;

export const faultXml = (code: number, text: string): string =>
  `${RESPONSE_HEAD}<fault>\n<value><struct>\n` +
  `<member>\n<name>faultCode</name>\n${valueXml(code)}\n</member>\n` +
  `<member>\n<name>faultString</name>\n${valueXml(text)}\n</member>\n` +
  '</struct></value>\n</fault>\n</methodResponse>\n';

import { Parser } from 'htmlparser2';

export interface Anchor {
  readonly href: string | undefined;
  readonly text: string;
  readonly attributes: Readonly<Record<string, string>>;
}

/** A URL in a page. */
export interface Reference {
  readonly tag: string;
  readonly url: string;
  /** The browser loads it without the user following a link. */
  readonly loads: boolean;
}

/** What the rules check in an HTML page. */
export interface Markup {
  readonly doctype: boolean;
  /** The last tag is `</html>`. */
  readonly closed: boolean;
  readonly lang: string | undefined;
  readonly title: string;
  /** The contents of the meta elements by lower-case `name`, `property` or `http-equiv`. */
  readonly metas: ReadonlyMap<string, string>;
  readonly references: readonly Reference[];
  /** Each inline script, style or event handler. */
  readonly inline: readonly string[];
  readonly ids: ReadonlySet<string>;
  readonly repeatedIds: readonly string[];
}

/** The attributes that contain URLs, and whether the browser loads these by itself. */
const URL_ATTRIBUTES: Readonly<Record<string, boolean>> = {
  href: false,
  src: true,
  srcset: true,
  poster: true,
  data: true,
  action: true,
  formaction: true,
  'xlink:href': true,
};
/** Link relations that a browser does not load. */
const NON_LOADING_LINKS = /^(canonical|alternate|author|help|license|next|prev|search)$/i;
/** Types of scripts that contain data and are not run. */
const DATA_SCRIPT = /^(application\/(ld\+)?json|text\/plain)$/i;

/**
 * Parses an HTML page as leniently as a browser does. If `onAnchor` is given, it is called with each `a` element as it
 * ends, and these are not among the references: the root of the index has hundreds of thousands of them.
 */
export function readMarkup(text: string, onAnchor?: (anchor: Anchor) => void): Markup {
  const metas = new Map<string, string>();
  const references: Reference[] = [];
  const inline: string[] = [];
  const ids = new Set<string>();
  const repeatedIds: string[] = [];
  let doctype = false;
  let lang: string | undefined;
  let title: string | undefined;
  let inTitle = false;
  let anchor: { attributes: Record<string, string>; text: string } | undefined;
  const parser = new Parser({
    onprocessinginstruction: (name, data) => {
      if (/^!doctype$/i.test(name) && /^!doctype\s+html\s*$/i.test(data)) doctype = true;
    },
    onopentag: (tag, attributes) => {
      if (tag === 'html') lang = attributes['lang'];
      if (tag === 'title' && title === undefined) {
        inTitle = true;
        title = '';
      }
      const metaName = attributes['name'] ?? attributes['property'] ?? attributes['http-equiv'];
      if (tag === 'meta' && metaName !== undefined)
        metas.set(metaName.toLowerCase(), attributes['content'] ?? '');
      const id = attributes['id'];
      if (id !== undefined) {
        if (ids.has(id)) repeatedIds.push(id);
        ids.add(id);
      }
      inline.push(...inlineCode(tag, attributes));
      if (tag === 'a') anchor = { attributes, text: '' };
      if (tag === 'a' && onAnchor) return;
      for (const [name, url] of Object.entries(attributes)) {
        const loads = URL_ATTRIBUTES[name];
        if (loads === undefined) continue;
        const isLoadedLink = tag === 'link' && !NON_LOADING_LINKS.test(attributes['rel'] ?? '');
        if (name === 'srcset')
          for (const candidate of url.split(','))
            references.push({ tag, url: candidate.trim().split(/\s/)[0] ?? '', loads });
        else references.push({ tag, url, loads: loads || isLoadedLink || tag === 'base' || tag === 'use' });
      }
    },
    ontext: (data) => {
      if (inTitle) title = (title ?? '') + data;
      if (anchor) anchor.text += data;
    },
    onclosetag: (tag) => {
      if (tag === 'title') inTitle = false;
      if (tag !== 'a' || !anchor) return;
      onAnchor?.({ href: anchor.attributes['href'], ...anchor });
      anchor = undefined;
    },
  });
  for (let at = 0; at < text.length; at += PARSE_CHUNK_CHARS)
    parser.write(text.slice(at, at + PARSE_CHUNK_CHARS));
  parser.end();
  const closed = /<\/html>\s*(<!--[^>]*-->\s*)?$/i.test(text.slice(-1000));
  return { doctype, closed, lang, title: (title ?? '').trim(), metas, references, inline, ids, repeatedIds };
}

/** Characters that are passed to the parser at once: it keeps its input until it has read it. */
const PARSE_CHUNK_CHARS = 256 * 1024;

function inlineCode(tag: string, attributes: Readonly<Record<string, string>>): readonly string[] {
  const snippets: string[] = [];
  if (tag === 'style') snippets.push('<style>');
  if (tag === 'script' && attributes['src'] === undefined && !DATA_SCRIPT.test(attributes['type'] ?? ''))
    snippets.push('<script>');
  for (const [name, value] of Object.entries(attributes)) {
    if (name === 'style') snippets.push(`<${tag} style>`);
    if (/^on[a-z]+$/.test(name)) snippets.push(`<${tag} ${name}>`);
    if (name in URL_ATTRIBUTES && /^\s*javascript:/i.test(value))
      snippets.push(`<${tag} ${name}="javascript:…">`);
  }
  return snippets;
}

/**
 * Every rule that `piw check` applies, in one table: its id, what it requires, and where the requirement comes from.
 * Level `warning`: no client is harmed, but the operator should know. Warnings are not counted as faults.
 */
interface Rule {
  readonly says: string;
  readonly source: string;
  readonly level: 'fault' | 'warning';
}

const fault = (says: string, source: string) => ({ says, source, level: 'fault' }) as const;
const warning = (says: string, source: string) => ({ says, source, level: 'warning' }) as const;

const THIS_FARM = 'this farm';

export const RULES = {
  // One page of the simple index.
  'sibling-missing': fault('each page of the index exists in all three forms', 'PEP 691'),
  'page-utf8': fault('a page is UTF-8 text', 'PEP 503, 691'),
  'html-whole': fault('an HTML page has <!DOCTYPE html> and ends with </html>', 'PEP 503'),
  'html-version': fault('pypi:repository-version is 1.4, the last version for HTML', 'PEP 629, 833'),
  'html-anchor': fault(
    'each anchor is a file, and its text is the filename at the end of its URL',
    'PEP 503',
  ),
  'html-hash': fault('the URL of a file ends in #sha256= and 64 hexadecimal digits', 'PEP 503'),
  'html-escaped': fault('< and > are escaped in data-requires-python', 'PEP 503'),
  'html-core-metadata': fault('data-core-metadata is sha256= and 64 hexadecimal digits', 'PEP 658, 714'),
  'html-dist-info-metadata': fault(
    'data-dist-info-metadata is absent: with it, pip 22.3 to 23.0.1 finds no files of a project whose name is not typed in normalised form',
    THIS_FARM,
  ),
  'html-key': fault(
    'an HTML page has only the pypi: metas and data- attributes of accepted specifications',
    'PEP 708, 833',
  ),
  'html-base': fault('there is no base element: URLs are relative to their page', THIS_FARM),
  'json-parse': fault('a JSON page is a single JSON object', 'PEP 691'),
  'json-twice': fault('no key occurs twice in an object', 'RFC 8259'),
  'json-shape': fault('each key has a value of the specified type', 'PEP 691, 700'),
  'json-version': fault('meta.api-version is 1.4', 'PEP 629, 691'),
  'json-name': fault('name is the normalised name of the project', 'PEP 691'),
  'json-hash': fault('hashes has a sha256 of 64 lower-case hexadecimal digits', 'PEP 691'),
  'json-size': fault('size is present and a whole number of bytes', 'PEP 700'),
  'json-upload-time': fault(
    'upload-time is a valid time in the past, as YYYY-MM-DDTHH:MM:SS.ffffffZ',
    'PEP 700',
  ),
  'json-yanked': fault('yanked is false, true or a reason that is not empty', 'PEP 592, 691'),
  'json-core-metadata': fault('core-metadata is {"sha256": …}', 'PEP 658, 714'),
  'json-dist-info-metadata': fault('JSON has no dist-info-metadata', 'PEP 714'),
  'json-key': fault('a key that is not in an accepted specification begins with _', 'PEP 691, 708, 752'),
  'status-known': fault('a status is active, archived, quarantined or deprecated', 'PEP 792'),
  'quarantined-files': fault('a quarantined project offers no files', 'PEP 792'),
  'filename-wheel': fault('a filename is a valid wheel filename', 'binary distribution format'),
  'filename-project': fault('a file belongs to the project that lists it', 'PEP 503'),
  'filename-twice': fault('a file is listed only once', 'PEP 503'),
  'file-url': fault('the URL of a file leads to the folder of its page', THIS_FARM),
  'versions-complete': fault('versions has the version of every file', 'PEP 700'),
  'versions-unique': fault('versions has each version only once', 'PEP 700'),
  'versions-order': fault('versions are in the order of PEP 440, oldest first', 'PEP 440'),
  'files-order': fault('files are in the order of their versions, oldest first', 'PEP 440'),
  'requires-python-valid': warning(
    'requires-python is a valid version specifier; uv ignores a file if it can’t parse it',
    'PEP 440',
  ),
  'serial-number': fault('_last-serial is a whole number, on all pages or on none', THIS_FARM),
  'serial-behind': fault('the serial of a page is not lower than the one in the root', THIS_FARM),
  // The three forms of one page.
  'siblings-files': fault('all forms of a page list the same files in the same order', 'PEP 691'),
  'siblings-hash': fault('all forms of a page have the same hash for a file', 'PEP 691'),
  'siblings-yanked': fault('all forms of a page agree on which files are yanked, and why', 'PEP 592, 691'),
  'siblings-requires-python': fault(
    'all forms of a page have the same requires-python for a file',
    'PEP 691',
  ),
  'siblings-metadata': fault('all forms of a page have the same metadata hash for a file', 'PEP 714'),
  'siblings-status': fault('all forms of a page have the same status and reason', 'PEP 792'),
  // The root of the simple index.
  'root-names': fault('all forms of the root list the same projects', 'PEP 691'),
  'root-normalised': fault('the root lists projects by their normalised names', 'PEP 503'),
  'root-order': fault('the root lists projects in order, each once', THIS_FARM),
  'root-anchor': fault('an anchor in the root links to NAME/', 'PEP 503'),
  'root-serial': fault('the serial of the root is not lower than that of any project', THIS_FARM),
  'root-dangling': fault('each project in the root has a page', 'PEP 503'),
  'root-unlisted': fault('each project that has a page is in the root', 'PEP 503'),
  'project-empty': fault('a project without files is not in the index', THIS_FARM),
  'folder-normalised': fault('the folder of a project has its normalised name', 'PEP 503'),
  // Files.
  'file-missing': fault('a listed file exists', 'PEP 503'),
  'file-size': fault('a listed file has the size given in the index', 'PEP 700'),
  'file-hash': fault('a listed file has the SHA-256 given in the index', 'PEP 503'),
  'wheel-broken': fault(
    'a listed file is a readable wheel with the name, version and tags in its filename',
    'binary distribution format',
  ),
  'wheel-requires-python': fault(
    'requires-python is the same as in the METADATA of the wheel',
    'PEP 503, 643',
  ),
  'metadata-missing': fault('WHEEL.metadata exists if the index advertises it', 'PEP 658'),
  'metadata-hash': fault('WHEEL.metadata has the SHA-256 given in the index', 'PEP 658'),
  'metadata-bytes': fault('WHEEL.metadata is identical to the METADATA in the wheel', 'PEP 658'),
  'file-unlisted': warning('each wheel and its metadata are listed on a page', THIS_FARM),
  'temporary-left': warning('no temporary files of killed processes are left', THIS_FARM),
  'stray-file': warning('there are only files and folders that piw writes', THIS_FARM),
  readable: warning('every user can read files and enter folders, so that a web server can', THIS_FARM),
  'gzip-stale': fault('a compressed page unpacks to exactly the page', THIS_FARM),
  'gzip-broken': fault('a compressed file can be unpacked', 'RFC 1952'),
  'gzip-orphan': fault('a compressed page has its page next to it', THIS_FARM),
  'gzip-time': warning('a compressed page has the same modification time as the page', THIS_FARM),
  // Pages for people.
  'project-page': fault('each project of the index has a page for people', THIS_FARM),
  'pypi-json': fault(
    'each project of the index has a page in PyPI’s JSON API, with the same files and serial',
    'PyPI’s JSON API',
  ),
  'pypi-orphan': fault('PyPI’s JSON API has no pages of projects that are not in the index', THIS_FARM),
  'project-json': fault('each project of the index has its JSON, with the same files', THIS_FARM),
  'site-page': fault('the pages that every site has exist', THIS_FARM),
  'site-extra': warning('sitemap.xml and robots.txt exist', 'sitemaps.org, RFC 9309'),
  'link-broken': fault('a link within the site leads to something that exists', THIS_FARM),
  'link-fragment': fault('a link to a part of the same page names an id that exists', 'HTML'),
  'log-missing': fault('a build log that a page links to exists', THIS_FARM),
  'log-plain': fault('build logs are stored only in compressed form', THIS_FARM),
  'foreign-host': fault('a page loads nothing from other hosts', THIS_FARM),
  'csp-missing': fault('a page has a Content-Security-Policy', THIS_FARM),
  'csp-weak': fault(
    "the policy has a default-src of 'none' or 'self', and allows neither unsafe-… nor *",
    'CSP 3',
  ),
  'inline-code': fault('a page has no inline scripts, styles or event handlers', 'CSP 3'),
  'page-lang': fault('a page declares its language and has a title', 'HTML, WCAG 2'),
  'page-ids': fault('an id occurs only once in a page', 'HTML'),
  'statistics-json': fault('statistics.json is a single JSON object', THIS_FARM),
  'data-json': fault('the data that pages load is JSON', THIS_FARM),
  'sitemap-xml': fault('a sitemap is XML with at most 50,000 URLs and 50 MB', 'sitemaps.org'),
  'sitemap-address': fault('the URLs in a sitemap are absolute and all on one host', 'sitemaps.org'),
  'sitemap-link': fault('a sitemap lists only what exists', 'sitemaps.org'),
  robots: fault('robots.txt admits all crawlers and has the absolute URL of the sitemap', 'RFC 9309'),
  // What only a server shows.
  'http-answer': fault('the server answers, and with 200 for what exists', 'RFC 9110'),
  'http-type': fault('each response has a Content-Type, which is the requested one', 'PEP 691'),
  'http-latest': fault('a request for “latest” is answered with the actual version as the type', 'PEP 691'),
  'http-vary': fault('a response that depends on Accept has Vary: Accept', 'PEP 691, RFC 9110'),
  'http-406': fault('406 if the client accepts none of the existing forms', 'PEP 691'),
  'http-quality': fault('of the existing forms, the client gets the one with its highest q', 'RFC 9110'),
  'http-slash': fault('the URL of a page without its trailing / redirects to the page', 'PEP 503'),
  'http-normalise': fault('a name that is not normalised redirects to the normalised one', 'PEP 503'),
  'http-short': fault('/p/NAME redirects to the project’s page, /project/ to the packages page', THIS_FARM),
  'http-404': fault('404 for what does not exist', 'PEP 503'),
  'http-hidden': fault('hidden and temporary files are not served', THIS_FARM),
  'http-head': fault('HEAD returns the headers of GET and no body', 'RFC 9110'),
  'http-etag': fault('a response has an ETag and a Last-Modified', 'RFC 9110'),
  'http-etag-shared': fault('forms of a page that differ never share a strong ETag', 'RFC 9110'),
  'http-304': fault('304 for what the client already has', 'RFC 9110'),
  'http-ranges': fault('range requests for a wheel are answered with 206', 'RFC 9110'),
  'http-416': fault('416 for a range beyond the end of the file', 'RFC 9110'),
  'http-if-range': fault('the whole file if If-Range has another ETag', 'RFC 9110'),
  'http-gzip': fault('a compressed response unpacks to the uncompressed one', 'RFC 9110'),
  'http-gzip-refused': fault('no compressed response for a client that refuses it', 'RFC 9110'),
  'http-gzip-vary': fault('a response that may be compressed has Vary: Accept-Encoding', 'RFC 9110'),
  'http-file-encoded': fault('a wheel is never sent with a Content-Encoding', THIS_FARM),
  'http-length': fault('Content-Length is the length of the body', 'RFC 9110'),
  'http-serial': fault('X-PyPI-Last-Serial is the serial in the page', THIS_FARM),
  'http-nosniff': warning('X-Content-Type-Options is nosniff', 'Fetch'),
  'http-cookie': fault('responses set no cookies', THIS_FARM),
} as const satisfies Record<string, Rule>;

export type RuleId = keyof typeof RULES;

export const isWarning = (rule: RuleId): boolean => RULES[rule].level === 'warning';

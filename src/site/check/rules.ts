/**
 * Every rule that `piw check` holds, in one table: what it is called, what it says, and where that comes from.
 * `warning`: no client is harmed by it, but somebody ought to know; it doesn't count as a fault.
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
  'sibling-missing': fault('each page of the index is there in all three forms', 'PEP 691'),
  'page-utf8': fault('a page is text in UTF-8', 'PEP 503, 691'),
  'html-whole': fault('a page in HTML begins with <!DOCTYPE html> and ends with </html>', 'PEP 503'),
  'html-version': fault('pypi:repository-version is 1.4, the last one that HTML has', 'PEP 629, 833'),
  'html-anchor': fault(
    'each anchor stands for one file, and its text is the filename that its address ends in',
    'PEP 503',
  ),
  'html-hash': fault('the address of a file ends in #sha256= and 64 hexadecimal digits', 'PEP 503'),
  'html-escaped': fault('< and > are escaped in data-requires-python', 'PEP 503'),
  'html-core-metadata': fault('data-core-metadata is sha256= and 64 hexadecimal digits', 'PEP 658, 714'),
  'html-dist-info-metadata': fault(
    'data-dist-info-metadata is left out: with it, pip 22.3 to 23.0.1 finds no file of a project whose name is not typed in normalised form',
    THIS_FARM,
  ),
  'html-key': fault(
    'a page in HTML has no pypi: meta and no data- attribute that no accepted specification has',
    'PEP 708, 833',
  ),
  'html-base': fault('no base element: addresses are relative to their page', THIS_FARM),
  'json-parse': fault('a page in JSON is one object of JSON', 'PEP 691'),
  'json-twice': fault('no key stands twice in one object', 'RFC 8259'),
  'json-shape': fault('each key has a value of its type', 'PEP 691, 700'),
  'json-version': fault('meta.api-version is 1.4', 'PEP 629, 691'),
  'json-name': fault('name is the normalised name of the project', 'PEP 691'),
  'json-hash': fault('hashes has a sha256 of 64 lower-case hexadecimal digits', 'PEP 691'),
  'json-size': fault('size is there, a whole number of bytes', 'PEP 700'),
  'json-upload-time': fault('upload-time is a real time, YYYY-MM-DDTHH:MM:SS.ffffffZ', 'PEP 700'),
  'json-yanked': fault('yanked is false, true or a reason that is not empty', 'PEP 592, 691'),
  'json-core-metadata': fault('core-metadata is {"sha256": …}', 'PEP 658, 714'),
  'json-dist-info-metadata': fault('dist-info-metadata never stands in JSON', 'PEP 714'),
  'json-key': fault('a key that no accepted specification has begins with _', 'PEP 691, 708, 752'),
  'status-known': fault('a status is active, archived, quarantined or deprecated', 'PEP 792'),
  'quarantined-files': fault('a quarantined project offers no files', 'PEP 792'),
  'filename-wheel': fault('a filename is that of a wheel', 'binary distribution format'),
  'filename-project': fault('a file belongs to the project that lists it', 'PEP 503'),
  'filename-twice': fault('a file is listed once', 'PEP 503'),
  'file-url': fault('the address of a file leads to its place beside the page', THIS_FARM),
  'versions-complete': fault('versions names every version that has a file', 'PEP 700'),
  'versions-unique': fault('versions names each version once', 'PEP 700'),
  'versions-order': fault('versions stand in the order of PEP 440, the oldest first', 'PEP 440'),
  'files-order': fault('files stand in the order of their versions, the oldest first', 'PEP 440'),
  'requires-python-valid': warning(
    'requires-python is a version specifier; uv leaves out a file whose it can’t read',
    'PEP 440',
  ),
  'serial-number': fault('_last-serial is a whole number, in all pages or in none', THIS_FARM),
  'serial-behind': fault('a page’s serial is not below what the root says of it', THIS_FARM),
  // The three forms of one page.
  'siblings-files': fault('all forms of a page list the same files in the same order', 'PEP 691'),
  'siblings-hash': fault('all forms of a page give a file the same hash', 'PEP 691'),
  'siblings-yanked': fault('all forms of a page agree on what is yanked, and why', 'PEP 592, 691'),
  'siblings-requires-python': fault('all forms of a page give a file the same requires-python', 'PEP 691'),
  'siblings-metadata': fault('all forms of a page give a file’s metadata the same hash', 'PEP 714'),
  'siblings-status': fault('all forms of a page give the same status and reason', 'PEP 792'),
  // The root of the simple index.
  'root-names': fault('all forms of the root name the same projects', 'PEP 691'),
  'root-normalised': fault('the root names projects by their normalised names', 'PEP 503'),
  'root-order': fault('the root names projects in order, each once', THIS_FARM),
  'root-anchor': fault('an anchor of the root leads to NAME/', 'PEP 503'),
  'root-serial': fault('the root’s serial is not below that of any project', THIS_FARM),
  'root-dangling': fault('each project that the root names has a page', 'PEP 503'),
  'root-unlisted': fault('each project that has a page of the index is named by the root', 'PEP 503'),
  'project-empty': fault('a project without a file to offer is not in the index', THIS_FARM),
  'folder-normalised': fault('the folder of a project has its normalised name', 'PEP 503'),
  // Files.
  'file-missing': fault('a listed file is there', 'PEP 503'),
  'file-size': fault('a listed file has the size that the index gives', 'PEP 700'),
  'file-hash': fault('a listed file has the SHA-256 that the index gives', 'PEP 503'),
  'wheel-broken': fault(
    'a listed file is a wheel that opens, of the name, version and tags in its filename',
    'binary distribution format',
  ),
  'wheel-requires-python': fault('requires-python is what the wheel’s own METADATA says', 'PEP 503, 643'),
  'metadata-missing': fault('WHEEL.metadata is there wherever the index advertises it', 'PEP 658'),
  'metadata-hash': fault('WHEEL.metadata has the SHA-256 that the index gives', 'PEP 658'),
  'metadata-bytes': fault('WHEEL.metadata is byte for byte the METADATA in the wheel', 'PEP 658'),
  'file-unlisted': warning('no page lists this file', THIS_FARM),
  'temporary-left': warning('what a killed process has left is removed', THIS_FARM),
  'stray-file': warning('nothing stands here but what this program writes', THIS_FARM),
  readable: warning('every user may read it, so that a web server can', THIS_FARM),
  'gzip-stale': fault('a compressed page unpacks to exactly the page', THIS_FARM),
  'gzip-broken': fault('what is compressed unpacks', 'RFC 1952'),
  'gzip-orphan': fault('a compressed page stands beside the page', THIS_FARM),
  'gzip-time': warning('a compressed page has the page’s time of last change', THIS_FARM),
  // Pages for people.
  'project-page': fault('each project of the index has a page for people', THIS_FARM),
  'pypi-json': fault(
    'each project of the index has its page in PyPI’s JSON API, with the same files and serial',
    'PyPI’s JSON API',
  ),
  'pypi-orphan': fault('no page of PyPI’s JSON API is left of a project that the index has not', THIS_FARM),
  'project-json': fault('each project of the index has its JSON, with the same files', THIS_FARM),
  'site-page': fault('the pages that each site has are there', THIS_FARM),
  'site-extra': warning('sitemap.xml and robots.txt are there', 'sitemaps.org, RFC 9309'),
  'link-broken': fault('a link within the site leads to something that is there', THIS_FARM),
  'link-fragment': fault('a link to a part of its own page names one that is there', 'HTML'),
  'log-missing': fault('a build log that a page names is there', THIS_FARM),
  'log-plain': fault('build logs are stored compressed only', THIS_FARM),
  'foreign-host': fault('a page loads nothing from another host', THIS_FARM),
  'csp-missing': fault('a page has a Content-Security-Policy', THIS_FARM),
  'csp-weak': fault('the policy begins with nothing allowed, and allows nothing inline', 'CSP 3'),
  'inline-code': fault('a page has no script, style or handler of its own', 'CSP 3'),
  'page-lang': fault('a page says its language and has a title', 'HTML, WCAG 2'),
  'page-ids': fault('an id stands once in a page', 'HTML'),
  'statistics-json': fault('statistics.json is one object of JSON', THIS_FARM),
  'data-json': fault('the data of pages is JSON', THIS_FARM),
  'sitemap-xml': fault('a sitemap is XML with at most 50,000 addresses in 50 MB', 'sitemaps.org'),
  'sitemap-address': fault('the addresses of a sitemap are absolute, and all of one host', 'sitemaps.org'),
  'sitemap-link': fault('a sitemap names only what is there', 'sitemaps.org'),
  robots: fault('robots.txt lets everybody in, and names the sitemap by its whole address', 'RFC 9309'),
  // What only a server shows.
  'http-answer': fault('the server answers, and with 200 for what is there', 'RFC 9110'),
  'http-type': fault('each answer has a type: the one that was asked for, by its real name', 'PEP 691'),
  'http-latest': fault('what is asked for as “latest” answers with its real version', 'PEP 691'),
  'http-vary': fault('an answer that depends on Accept says Vary: Accept', 'PEP 691, RFC 9110'),
  'http-406': fault('406 where the client accepts no form that there is', 'PEP 691'),
  'http-quality': fault('among forms the one with the client’s highest q is given', 'RFC 9110'),
  'http-slash': fault('a page’s address without its / redirects to it', 'PEP 503'),
  'http-normalise': fault('a name that is not normalised redirects to the normalised one', 'PEP 503'),
  'http-short': fault('/p/NAME redirects to the project’s page, /project/ to all packages', THIS_FARM),
  'http-404': fault('what is not there is answered with 404', 'PEP 503'),
  'http-hidden': fault('what is on its way in is not served', THIS_FARM),
  'http-head': fault('HEAD gives the headers of GET, and no body', 'RFC 9110'),
  'http-etag': fault('an answer has an ETag, or a time of last change', 'RFC 9110'),
  'http-etag-shared': fault('forms of a page that differ never share a strong ETag', 'RFC 9110'),
  'http-304': fault('304 for what the client has already', 'RFC 9110'),
  'http-ranges': fault('ranges of a wheel are given, with 206', 'RFC 9110'),
  'http-416': fault('416 for a range that the file hasn’t', 'RFC 9110'),
  'http-if-range': fault('the whole file where If-Range names another ETag', 'RFC 9110'),
  'http-gzip': fault('a compressed answer unpacks to the plain one', 'RFC 9110'),
  'http-gzip-refused': fault('no compressed answer for a client that refuses it', 'RFC 9110'),
  'http-gzip-vary': fault('an answer that may be compressed says Vary: Accept-Encoding', 'RFC 9110'),
  'http-file-encoded': fault('a wheel is never sent with a content coding', THIS_FARM),
  'http-length': fault('Content-Length is the length of the body', 'RFC 9110'),
  'http-serial': fault('X-PyPI-Last-Serial is the serial in the page', THIS_FARM),
  'http-nosniff': warning('X-Content-Type-Options: nosniff', 'Fetch'),
  'http-cookie': fault('the index sets no cookies', THIS_FARM),
} as const satisfies Record<string, Rule>;

export type RuleId = keyof typeof RULES;

export const isWarning = (rule: RuleId): boolean => RULES[rule].level === 'warning';

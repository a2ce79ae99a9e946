import { homePath, packagesPath, projectPath, robotsPath, sitemapPath } from '../site/layout.js';
import { mediaType, type HttpResponse, type HttpClient } from './client.js';
import type { FaultReporter } from './faults.js';
import { checkPageResponses, checkRedirect } from './manners.js';
import { readMarkup } from './markup.js';
import { REQUIRED_PAGES, checkPage, checkSelfContained, internalLinks } from './people.js';
import { decodeText } from './place.js';
import { checkRobots, checkSitemap } from './sitemap.js';

/** Checks a page for people in a response. Links that begin with `skippedPrefix` are checked elsewhere. */
export async function checkServedPage(
  client: HttpClient,
  path: string,
  { headers, body }: HttpResponse,
  skippedPrefix: string,
  report: FaultReporter,
): Promise<void> {
  if (mediaType(headers) !== 'text/html') report('http-type', path, mediaType(headers), 'text/html');
  const text = decodeText(body, path, report);
  if (text === undefined) return;
  const markup = readMarkup(text);
  const ownHosts = [new URL(client.baseUrl).host];
  checkSelfContained(markup, path, report, ownHosts);
  const policy = headers['content-security-policy'];
  checkPage(markup, path, report, Array.isArray(policy) ? policy.join('; ') : policy);
  for (const address of internalLinks(markup, path, ownHosts)) {
    if (address.startsWith(skippedPrefix)) continue;
    const { status } = await client.request(encodeURI(address.slice(1)), { method: 'HEAD' });
    const isReachable = (status >= 200 && status < 400) || status === 406;
    const isLog = address.startsWith('/logs/');
    if (!isReachable)
      report(isLog ? 'log-missing' : 'link-broken', `${path} ${address}`, String(status), '200');
  }
}

/** Checks robots.txt and the sitemap. The pages in the sitemap are not requested: there may be a million. */
async function checkRobotsAndSitemap(client: HttpClient, report: FaultReporter): Promise<void> {
  const read = async (path: string): Promise<string | undefined> => {
    const { status, body } = await client.request(encodeURI(path));
    return status === 200 ? decodeText(body, path, report) : undefined;
  };
  const robots = await read(robotsPath);
  const hasSitemap = (await client.request(sitemapPath, { method: 'HEAD' })).status === 200;
  if (robots !== undefined) checkRobots(robots, hasSitemap, report);
  if (robots === undefined || !hasSitemap)
    report('site-extra', robots === undefined ? robotsPath : sitemapPath, 'missing', 'a file');
  await checkSitemap(read, () => true, report);
}

/** Checks the server outside of the index: pages for people, missing pages, and hidden files. */
export async function checkSiteResponses(
  client: HttpClient,
  name: string | undefined,
  report: FaultReporter,
): Promise<void> {
  const home = await client.request('');
  if (home.status !== 200) report('http-answer', '', String(home.status), '200');
  else {
    await checkServedPage(client, '', home, '/simple/', report);
    await checkPageResponses(client, '', {}, home, report);
  }
  for (const path of REQUIRED_PAGES.filter((page) => page !== homePath)) {
    const response = await client.request(path);
    if (response.status !== 200) report('site-page', path, String(response.status), '200');
    else await checkServedPage(client, path, response, '/simple/', report);
  }
  await checkRobotsAndSitemap(client, report);
  const statistics = await client.request('statistics.json');
  if (statistics.status !== 200) report('site-page', 'statistics.json', String(statistics.status), '200');
  else if (mediaType(statistics.headers) !== 'application/json')
    report('http-type', 'statistics.json', mediaType(statistics.headers), 'application/json');
  await checkRedirect(client, 'project/', packagesPath, 'http-short', report);
  if (name !== undefined)
    await checkRedirect(client, `p/${name}`, `${projectPath(name)}/`, 'http-short', report);
  const nowhere = 'piw-check-asks-for-what-is-not-here';
  const absent = [`simple/${nowhere}/`, `project/${nowhere}/`, nowhere];
  if (name !== undefined) absent.push(`simple/${name}/${nowhere}-1.0-py3-none-any.whl`);
  for (const path of absent) {
    const { status } = await client.request(path);
    if (status !== 404) report('http-404', path, String(status), '404');
  }
  for (const path of ['.transfers/', '.transfers/x.part', 'simple/.tmp-x', '%2e%2e/etc/passwd']) {
    const { status } = await client.request(path);
    if (status !== 404 && status !== 403 && status !== 400)
      report('http-hidden', path, String(status), '404 or 403');
  }
}

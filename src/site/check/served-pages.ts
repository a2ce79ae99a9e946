import { homePath, packagesPath, projectPath, robotsPath, sitemapPath } from '../layout.js';
import { typeOf, type Answer, type Server } from './client.js';
import type { Tell } from './faults.js';
import { holdPageManners, holdRedirect } from './manners.js';
import { readMarkup } from './markup.js';
import { PAGES_OF_EACH_SITE, holdPage, holdQuiet, innerLinks } from './people.js';
import { textOf } from './place.js';
import { holdRobots, holdSitemap } from './sitemap.js';

/** Holds a page for people as it was answered; `known`: what begins so is held elsewhere. */
export async function lookAtServedPage(
  server: Server,
  path: string,
  { headers, body }: Answer,
  known: string,
  tell: Tell,
): Promise<void> {
  if (typeOf(headers) !== 'text/html') tell('http-type', path, typeOf(headers), 'text/html');
  const text = textOf(body, path, tell);
  if (text === undefined) return;
  const markup = readMarkup(text);
  const own = [new URL(server.address).host];
  holdQuiet(markup, path, tell, own);
  const policy = headers['content-security-policy'];
  holdPage(markup, path, tell, Array.isArray(policy) ? policy.join('; ') : policy);
  for (const address of innerLinks(markup, path, own)) {
    if (address.startsWith(known)) continue;
    const { status } = await server.ask(encodeURI(address.slice(1)), { method: 'HEAD' });
    const there = (status >= 200 && status < 400) || status === 406;
    const log = address.startsWith('/logs/');
    if (!there) tell(log ? 'log-missing' : 'link-broken', `${path} ${address}`, String(status), '200');
  }
}

/** robots.txt and the sitemap; the pages that it names aren't asked for, they may be a million. */
async function lookAtMaps(server: Server, tell: Tell): Promise<void> {
  const read = async (path: string): Promise<string | undefined> => {
    const { status, body } = await server.ask(encodeURI(path));
    return status === 200 ? textOf(body, path, tell) : undefined;
  };
  const robots = await read(robotsPath);
  const mapped = (await server.ask(sitemapPath, { method: 'HEAD' })).status === 200;
  if (robots !== undefined) holdRobots(robots, mapped, tell);
  if (robots === undefined || !mapped)
    tell('site-extra', robots === undefined ? robotsPath : sitemapPath, 'nothing', 'a file');
  await holdSitemap(read, () => true, tell);
}

/** What the server does beside the index: the home page, what isn't there, and what nobody may see. */
export async function siteManners(server: Server, name: string | undefined, tell: Tell): Promise<void> {
  const home = await server.ask('');
  if (home.status !== 200) tell('http-answer', '', String(home.status), '200');
  else {
    await lookAtServedPage(server, '', home, '/simple/', tell);
    await holdPageManners(server, '', {}, home, tell);
  }
  for (const path of PAGES_OF_EACH_SITE.filter((one) => one !== homePath)) {
    const answer = await server.ask(path);
    if (answer.status !== 200) tell('site-page', path, String(answer.status), '200');
    else await lookAtServedPage(server, path, answer, '/simple/', tell);
  }
  await lookAtMaps(server, tell);
  const statistics = await server.ask('statistics.json');
  if (statistics.status !== 200) tell('site-page', 'statistics.json', String(statistics.status), '200');
  else if (typeOf(statistics.headers) !== 'application/json')
    tell('http-type', 'statistics.json', typeOf(statistics.headers), 'application/json');
  await holdRedirect(server, 'project/', packagesPath, 'http-short', tell);
  if (name !== undefined)
    await holdRedirect(server, `p/${name}`, `${projectPath(name)}/`, 'http-short', tell);
  const nowhere = 'piw-check-asks-for-what-is-not-here';
  const absent = [`simple/${nowhere}/`, `project/${nowhere}/`, nowhere];
  if (name !== undefined) absent.push(`simple/${name}/${nowhere}-1.0-py3-none-any.whl`);
  for (const path of absent) {
    const { status } = await server.ask(path);
    if (status !== 404) tell('http-404', path, String(status), '404');
  }
  for (const path of ['.transfers/', '.transfers/x.part', 'simple/.tmp-x', '%2e%2e/etc/passwd']) {
    const { status } = await server.ask(path);
    if (status !== 404 && status !== 403 && status !== 400)
      tell('http-hidden', path, String(status), '404 or 403');
  }
}

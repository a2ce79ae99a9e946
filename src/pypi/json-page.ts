import { PiwError, errorMessage } from '../errors.js';
import { normalise, type PackageName } from '../wheels/names.js';
import type { FetchedPage } from './http.js';
import {
  asDate,
  asSha256,
  asText,
  isTooLong,
  reasonOf,
  statusOf,
  type ParsedFile,
  type ParsedProject,
  type ParsedRoot,
} from './index-page.js';

/** Reads a project's page in JSON. Throws PIW_INDEX if it is not the page of this project. */
export function parseJsonProject(page: FetchedPage, name: PackageName): ParsedProject {
  const project = asObject(parseJson(page));
  const version = asText(asObject(project?.['meta'])?.['api-version']);
  const files = project?.['files'];
  const ownName = asText(project?.['name']);
  if (
    !version?.startsWith('1.') ||
    !Array.isArray(files) ||
    (ownName !== null && normalise(ownName) !== name)
  ) {
    throw new PiwError('PIW_INDEX', `${page.url} is not a project's page of the simple API, version 1`);
  }
  return {
    files: files.flatMap((item): ParsedFile[] => {
      const file = asObject(item);
      const filename = asText(file?.['filename']);
      const url = asText(file?.['url']);
      if (!file || filename === null || url === null || !URL.canParse(url, page.url)) return [];
      if (isTooLong(file['requires-python'])) return [];
      return [
        {
          filename,
          url: new URL(url, page.url).href,
          sha256: asSha256(asObject(file['hashes'])?.['sha256']),
          size: typeof file['size'] === 'number' ? file['size'] : null,
          uploadTime: asDate(file['upload-time']),
          requiresPython: asText(file['requires-python']),
          yanked: file['yanked'] === true ? '' : reasonOf(file['yanked']),
        },
      ];
    }),
    status: statusOf(asObject(project?.['project-status'])?.['status']),
    serial: toSerial(asObject(project?.['meta'])?.['_last-serial']),
  };
}

/** Reads a root in JSON. Throws PIW_INDEX if it is not one. */
export function parseJsonRoot(page: FetchedPage): ParsedRoot {
  const root = asObject(parseJson(page));
  const meta = asObject(root?.['meta']);
  const projects = root?.['projects'];
  if (!asText(meta?.['api-version'])?.startsWith('1.') || !Array.isArray(projects))
    throw new PiwError('PIW_INDEX', `${page.url} is not the root of the simple API, version 1`);
  const names = projects.flatMap((item): [string, number][] => {
    const project = asObject(item);
    const name = asText(project?.['name']);
    return name === null ? [] : [[name, toSerial(project?.['_last-serial'])]];
  });
  return { names, serial: toSerial(meta?.['_last-serial']) };
}

function parseJson(page: FetchedPage): unknown {
  try {
    return JSON.parse(page.body);
  } catch (error) {
    throw new PiwError('PIW_INDEX', `${page.url}: ${errorMessage(error)}`, { cause: error });
  }
}

const toSerial = (value: unknown): number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : 0;

const asObject = (value: unknown): Readonly<Record<string, unknown>> | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;

import type { IndexedFile } from '../../model/project.js';
import { escapeJson, isPlainFilename, requiresPythonJson, urlSegment } from '../json.js';
import { escape } from '../pages/html.js';
import { uploadTime } from './upload-time.js';

/** A file with the texts that several pages of the simple index have of it: each is made once. */
export interface FileTexts {
  readonly file: IndexedFile;
  readonly yanked: string | null;
  /** The filename in HTML, between quotes in JSON, and in a URL. */
  readonly html: string;
  readonly json: string;
  readonly url: string;
  readonly uploaded: string;
  /** requires-python as JSON. */
  readonly requiresPython: string;
}

export function fileTexts(file: IndexedFile): FileTexts {
  const { filename, yanked } = file;
  const isPlain = isPlainFilename(filename);
  return {
    file,
    yanked,
    html: isPlain ? filename : escape(filename),
    json: isPlain ? filename : escapeJson(filename),
    url: isPlain ? filename : urlSegment(filename),
    uploaded: uploadTime(file.uploaded),
    requiresPython: requiresPythonJson(file.requires_python),
  };
}

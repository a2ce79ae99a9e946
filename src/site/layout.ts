/** Where everything stands below the output path. Names come validated; none holds a path. */

export const homePath = 'index.html';
export const simplePath = (name?: string): string => (name === undefined ? 'simple' : `simple/${name}`);
export const projectPath = (name: string): string => `project/${name}`;

/** Logs by build: no folder gets more than some thousand of them. `logs/0001/234567.txt.gz` is of build 1234567. */
export function logPath(buildId: number): string {
  const digits = String(buildId).padStart(10, '0');
  return `logs/${digits.slice(0, 4)}/${digits.slice(4)}.txt.gz`;
}

/**
 * The forms of one page of the simple index: a static server gives one of them by what the client
 * accepts, and index.html to one that asks for nothing in particular.
 */
export const SIBLINGS = ['index.html', 'index.v1_html', 'index.v1_json'] as const;

import { fileURLToPath } from 'node:url';

/** The folder with package.json, sql/ and config/, with a slash at its end. Both dist/src and dist/run are two folders below. */
export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

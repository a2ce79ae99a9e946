import { readFileSync, statSync } from 'node:fs';
import { PiwError, errorMessage } from '../errors.js';

/** The bits of a file's mode for users who are neither its owner nor in its group. */
const OTHERS = 0o007;

/** Throws PIW_CONFIG if a file with a secret can't be read, or if everybody can read it. */
export function checkSecretFile(file: string): void {
  if (isForEverybody(file))
    throw new PiwError('PIW_CONFIG', `everybody can read the secret in ${file}: run chmod 600 ${file}`);
}

/** Returns whether every user of the machine can read or change the file. Throws PIW_CONFIG if it can't be examined. */
export function isForEverybody(file: string): boolean {
  try {
    return (statSync(file).mode & OTHERS) !== 0;
  } catch (error) {
    throw unreadable(file, error);
  }
}

/**
 * Returns the secret in a file that otherwise holds only comments. Throws PIW_CONFIG if the file can't be read, holds
 * no secret, or if everybody can read it.
 */
export function readSecretFile(file: string): string {
  checkSecretFile(file);
  let contents: string;
  try {
    contents = readFileSync(file, 'utf8');
  } catch (error) {
    throw unreadable(file, error);
  }
  const lines = contents.split('\n').map((line) => line.trim());
  const secret = lines.find((line) => line !== '' && !line.startsWith('#'));
  if (secret === undefined) throw new PiwError('PIW_CONFIG', `there is no secret in ${file}: it is empty`);
  return secret;
}

const unreadable = (file: string, cause: unknown): PiwError =>
  new PiwError('PIW_CONFIG', `the secret ${file} can't be read: ${errorMessage(cause)}`, { cause });

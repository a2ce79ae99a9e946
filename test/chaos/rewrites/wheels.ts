import { createHash } from 'node:crypto';
import { storedWheel } from '../../helpers/stored-wheel.js';

/** Returns a valid wheel with unique bytes. */
export function wheelBytes(name: string, version: string): Buffer {
  const seed = createHash('sha512').update(`${name} ${version}`).digest();
  return storedWheel(name, version, Buffer.concat(Array.from({ length: 40 }, () => seed))).bytes;
}

/** Returns the METADATA in it. */
export const metadataBytes = (name: string, version: string): Buffer =>
  Buffer.from(`Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n`);

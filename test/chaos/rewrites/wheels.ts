import { createHash } from 'node:crypto';
import { storedWheel } from '../../helpers/stored-wheel.js';

/** Returns a valid wheel, whose bytes are always the same for a name and version, and differ between versions. */
export function wheelBytes(name: string, version: string): Buffer {
  const seed = createHash('sha512').update(`${name} ${version}`).digest();
  return storedWheel(name, version, Buffer.concat(Array.from({ length: 40 }, () => seed))).bytes;
}

/** Returns the METADATA file of the wheel that wheelBytes() returns for the same arguments. */
export const metadataBytes = (name: string, version: string): Buffer =>
  Buffer.from(`Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n`);

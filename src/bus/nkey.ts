import { nkeys as untyped } from 'nats';
import { PiwError } from '../errors.js';

interface KeyPair {
  getSeed(): Uint8Array;
  getPublicKey(): string;
}

/** What the client library has of nkeys.js, which comes without types there. */
const nkeys = untyped as { createUser(): KeyPair; fromSeed(seed: Uint8Array): KeyPair };

/** A user's key pair on NATS (Ed25519): the server has the public key, and only the user has the seed. */
export interface NKey {
  /** `SU…`, 58 characters. A secret. */
  readonly seed: string;
  /** `U…`, 56 characters. */
  readonly publicKey: string;
}

/** What a user's seed looks like; whether it is one, publicKeyOf() finds out. */
export const looksLikeSeed = (text: string): boolean => /^SU[A-Z2-7]{56}$/.test(text);

export function generateUserKey(): NKey {
  const pair = nkeys.createUser();
  return { seed: new TextDecoder().decode(pair.getSeed()), publicKey: pair.getPublicKey() };
}

/** The public key of a user's seed. Raises PIW_CONFIG for what is none, and doesn't repeat it. */
export function publicKeyOf(seed: string): string {
  try {
    if (looksLikeSeed(seed)) return nkeys.fromSeed(new TextEncoder().encode(seed)).getPublicKey();
  } catch {
    // Its checksum is wrong: a character was lost on the way.
  }
  throw new PiwError(
    'PIW_CONFIG',
    'the nkey is no seed of a NATS user; it begins with SU and has 58 characters',
  );
}

import { nkeys as untyped } from 'nats';
import { PiwError } from '../errors.js';

interface KeyPair {
  getSeed(): Uint8Array;
  getPublicKey(): string;
}

/** The part of nkeys.js that the client library exports, which is untyped there. */
const nkeys = untyped as { createUser(): KeyPair; fromSeed(seed: Uint8Array): KeyPair };

/** A user's key pair on NATS (Ed25519): the server has the public key, and only the user has the seed. */
interface NKey {
  /** `SU…`, 58 characters. A secret. */
  readonly seed: string;
  /** `U…`, 56 characters. */
  readonly publicKey: string;
}

/** Whether a text has the form of a user's seed; publicKeyOf() also verifies the checksum. */
export const looksLikeSeed = (text: string): boolean => /^SU[A-Z2-7]{56}$/.test(text);

export function generateUserKey(): NKey {
  const pair = nkeys.createUser();
  return { seed: new TextDecoder().decode(pair.getSeed()), publicKey: pair.getPublicKey() };
}

/** Returns the public key of a user's seed. Throws PIW_CONFIG if it is not a seed; the message does not repeat it. */
export function publicKeyOf(seed: string): string {
  try {
    if (looksLikeSeed(seed)) return nkeys.fromSeed(new TextEncoder().encode(seed)).getPublicKey();
  } catch {
    // The checksum is wrong: a character was lost or changed.
  }
  throw new PiwError(
    'PIW_CONFIG',
    'the nkey is not the seed of a NATS user, which begins with SU and has 58 characters',
  );
}

import { machine } from 'node:os';
import { Flags } from '@oclif/core';
import { ProtocolClient } from '../../actor/client.js';
import type { Bus } from '../../bus/bus.js';
import { PiwError } from '../../errors.js';
import { oracle } from '../../protocols/oracle.js';
import type { RegisteredTarget } from '../../model/target.js';
import { natsFlags } from '../base.js';

type OracleClient = ProtocolClient<typeof oracle.verbs>;

/**
 * Options of a request that changes a target: the Oracle waits for those that are adding packages, and does the first
 * part of the work before it answers.
 */
export const TARGET_CHANGE_OPTIONS = { timeoutMs: 60_000 };

export const createOracleClient = (bus: Bus): OracleClient =>
  new ProtocolClient(bus, oracle, undefined, { timeoutMs: 10_000 });

export const targetFlags = {
  platform: Flags.string({
    char: 'p',
    helpValue: 'TAG',
    description: 'platform of the ABI, e.g. linux_aarch64 (default: the only registered one)',
  }),
  ...natsFlags,
};

export const describeTarget = ({
  abi,
  platform,
}: {
  readonly abi: string;
  readonly platform: string;
}): string => `${abi} on ${platform}`;

/** CPython with the GIL (3.6 and 3.7 have an m), free-threaded CPython (3.13 and later), and PyPy. */
const ABI_PATTERN = /^(?:cp3(?:[67]m|[89]|[1-9]\d)|cp3(?:1[3-9]|[2-9]\d)t|pypy3(?:[6-9]|[1-9]\d)_pp\d{2,3})$/;

/** Returns `input` if it is an ABI that a slave can have. Throws PIW_USAGE otherwise. */
export function parseAbi(input: string): string {
  if (ABI_PATTERN.test(input)) return input;
  throw new PiwError(
    'PIW_USAGE',
    `${JSON.stringify(input)} is not a valid ABI; write it as cp311, cp313t (free-threaded) or pypy310_pp73`,
  );
}

/** A slave's platform is its Python's, and so never manylinux or musllinux. */
const PLATFORM_PATTERN = /^(?!manylinux|musllinux|any$)[a-z0-9_]+$/;

/**
 * Returns the platform that the user typed; otherwise the only registered one; if there is none, this machine's.
 * Throws PIW_USAGE if `input` is not a platform, or if there are several to choose from.
 */
export function resolvePlatform(input: string | undefined, targets: readonly RegisteredTarget[]): string {
  if (input !== undefined) {
    if (PLATFORM_PATTERN.test(input)) return input;
    throw new PiwError(
      'PIW_USAGE',
      `${JSON.stringify(input)} is not a valid platform of a slave; write it as linux_x86_64 or linux_aarch64`,
    );
  }
  const [first, ...others] = new Set(targets.map(({ platform }) => platform));
  if (others.length > 0) throw ambiguousPlatformError(targets);
  return first ?? ownPlatform();
}

/** Returns the platform of this machine's Python (see src/builder/interpreter.ts), assumed to be as wide as this Node. */
function ownPlatform(): string {
  if (process.platform !== 'linux') {
    throw new PiwError('PIW_USAGE', 'give the platform with --platform, for example linux_aarch64');
  }
  const userlandMachines: Readonly<Record<string, string>> = {
    'ia32 x86_64': 'i686',
    'arm aarch64': 'armv7l',
  };
  return `linux_${userlandMachines[`${process.arch} ${machine()}`] ?? machine()}`;
}

/** Returns the registered target. Throws PIW_UNKNOWN_TARGET if there is none, PIW_USAGE if several match. */
export async function resolveTarget(
  oracleClient: OracleClient,
  abi: string,
  platform: string | undefined,
): Promise<RegisteredTarget> {
  const { targets } = await oracleClient.request('GETABIS', {});
  const matches = targets.filter(
    (target) => target.abi === abi && (platform === undefined || target.platform === platform),
  );
  const [only, ...others] = matches;
  if (!only) {
    const description = platform === undefined ? abi : describeTarget({ abi, platform });
    throw new PiwError('PIW_UNKNOWN_TARGET', `${description} is not registered`);
  }
  if (others.length > 0) throw ambiguousPlatformError(matches);
  return only;
}

function ambiguousPlatformError(targets: readonly RegisteredTarget[]): PiwError {
  const platforms = [...new Set(targets.map(({ platform }) => platform))];
  return new PiwError('PIW_USAGE', `choose a platform with --platform: ${platforms.join(', ')}`);
}

/** Returns the state of a target and how far its queue has been updated, for people. */
export function describeTargetState({ phase, skip, done }: RegisteredTarget): string {
  const percent = `${Math.floor(done * 100)} %`;
  switch (phase) {
    case 'active':
      return 'active';
    case 'filling':
      return `filling, ${percent}`;
    case 'skipped':
      return `skipped: ${skip ?? ''}`;
    case 'emptying':
      return `skipped: ${skip ?? ''}; emptying the queue, ${percent}`;
    case 'leaving':
      return 'being removed';
  }
}

import { machine } from 'node:os';
import { Flags } from '@oclif/core';
import { ProtocolClient } from '../../actor/client.js';
import type { Bus } from '../../bus/bus.js';
import { PiwError } from '../../errors.js';
import { oracle, type RegisteredTarget } from '../../protocols/oracle.js';
import { natsFlags } from '../base.js';

export type OracleClient = ProtocolClient<typeof oracle.verbs>;

/** What changes a target waits for those who read packages in, and does the first part of the work itself. */
export const TARGET_CHANGE_OPTIONS = { timeoutMs: 60_000 };

export const createOracleClient = (bus: Bus): OracleClient =>
  new ProtocolClient(bus, oracle, undefined, { timeoutMs: 10_000 });

export const targetFlags = {
  platform: Flags.string({
    char: 'p',
    helpValue: 'TAG',
    description: 'the platform (default: the only one there is)',
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

/** CPython with a GIL (3.6 and 3.7 have an m), without one (from 3.13 on), and PyPy. */
const ABI_PATTERN = /^(?:cp3(?:[67]m|[89]|[1-9]\d)|cp3(?:1[3-9]|[2-9]\d)t|pypy3(?:[6-9]|[1-9]\d)_pp\d{2,3})$/;

/** An ABI that slaves can have. Raises PIW_USAGE for what only looks like one. */
export function parseAbi(input: string): string {
  if (ABI_PATTERN.test(input)) return input;
  throw new PiwError(
    'PIW_USAGE',
    `${JSON.stringify(input)} is no ABI; they are written as cp311, cp313t (without the GIL) or pypy310_pp73`,
  );
}

/** Slaves name their platform as their Python does, which is never that of a portable wheel. */
const PLATFORM_PATTERN = /^(?!manylinux|musllinux|any$)[a-z0-9_]+$/;

/** The platform that was typed, or the only registered one, or this machine's own. Raises PIW_USAGE. */
export function resolvePlatform(input: string | undefined, targets: readonly RegisteredTarget[]): string {
  if (input !== undefined) {
    if (PLATFORM_PATTERN.test(input)) return input;
    throw new PiwError(
      'PIW_USAGE',
      `${JSON.stringify(input)} is no platform of a slave; they are written as linux_x86_64 or linux_aarch64`,
    );
  }
  const [first, ...others] = new Set(targets.map(({ platform }) => platform));
  if (others.length > 0) throw ambiguousPlatformError(targets);
  return first ?? ownPlatform();
}

/** As a Python here would say (src/builder/interpreter.ts), taking it to have as many bits as this program. */
function ownPlatform(): string {
  if (process.platform !== 'linux') {
    throw new PiwError('PIW_USAGE', 'name the platform with --platform, for example linux_aarch64');
  }
  const userlandMachines: Readonly<Record<string, string>> = {
    'ia32 x86_64': 'i686',
    'arm aarch64': 'armv7l',
  };
  return `linux_${userlandMachines[`${process.arch} ${machine()}`] ?? machine()}`;
}

/** The registered target that is meant. Raises PIW_UNKNOWN_TARGET, or PIW_USAGE where there are several. */
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
  return new PiwError('PIW_USAGE', `say which platform with --platform: ${platforms.join(', ')}`);
}

/** How far the queue follows a target, for people. */
export function describeTargetState({ phase, skip, done }: RegisteredTarget): string {
  const percent = `${String(Math.floor(done * 100))} %`;
  switch (phase) {
    case 'active':
      return 'active';
    case 'filling':
      return `filling, ${percent}`;
    case 'skipped':
      return `skipped because ${skip ?? ''}`;
    case 'emptying':
      return `skipped because ${skip ?? ''}; leaving the queue, ${percent}`;
    case 'leaving':
      return 'being removed';
  }
}

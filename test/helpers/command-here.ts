import { AsyncLocalStorage } from 'node:async_hooks';
import { fileURLToPath } from 'node:url';
import { Config } from '@oclif/core';
import { COMMAND_LOADERS } from '../../src/commands/loaders.js';
import type { CommandName } from '../../src/commands/names.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

export interface CommandResult {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** A command's class, as oclif itself uses it. */
interface RunnableClass {
  id: string;
  new (args: string[], config: Config): { _run: () => Promise<unknown> };
}

/** What the command that a piece of code belongs to has printed. */
const printed = new AsyncLocalStorage<{ out: string; err: string }>();
let config: Promise<Config> | undefined;

/** Makes writes of a command to this process's stdout or stderr go to `printed`. */
function capture(stream: NodeJS.WriteStream, key: 'out' | 'err'): void {
  const write = stream.write.bind(stream);
  stream.write = (chunk: string | Uint8Array, ...rest: unknown[]): boolean => {
    const target = printed.getStore();
    if (!target) return Boolean(Reflect.apply(write, stream, [chunk, ...rest]));
    target[key] += typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString();
    const done = rest.at(-1);
    if (typeof done === 'function') process.nextTick(done);
    return true;
  };
}

async function loadConfig(): Promise<Config> {
  capture(process.stdout, 'out');
  capture(process.stderr, 'err');
  const options = { name: 'piw', version: 'in-test', oclif: { bin: 'piw', topicSeparator: ' ' } };
  // Without the list of commands, because oclif would load all of them.
  return await Config.load({ root: ROOT, pjson: options as never });
}

/**
 * Runs a command, such as `abi:add`, in this process, with these arguments after its name. One that sets
 * process.exitCode can't run at the same time as another.
 */
export async function runHere(name: CommandName, args: readonly string[]): Promise<CommandResult> {
  config ??= loadConfig();
  const Command = (await COMMAND_LOADERS[name]()).default as unknown as RunnableClass;
  Command.id = name;
  const command = new Command([...args], await config);
  const output = { out: '', err: '' };
  const exitCodeBefore = process.exitCode;
  process.exitCode = 0;
  try {
    await printed.run(output, () => command._run());
    return { code: process.exitCode, ...output };
  } catch (error) {
    const code = (error as { oclif?: { exit?: number } }).oclif?.exit;
    if (code === undefined) throw error;
    return { code, ...output };
  } finally {
    process.exitCode = exitCodeBefore;
  }
}

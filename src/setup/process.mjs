/**
 * Runs other programs and handles signals for src/setup.mjs.
 *
 * Ctrl+C in a terminal reaches this process, npm and the child alike, and npm forwards it once more; a signal
 * sent only to npm or to this process reaches nobody else. So this process forwards signals, but ignores one
 * that arrives within a second of the same signal as its echo. (The child may still receive two, from the
 * terminal and from here: it has to do the same.)
 */
import { spawn } from 'child_process';
import { constants } from 'os';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];
const ECHO_MS = 1000;
const TAIL_CHARS = 20000;

let interruption = null;
let child = null;
let childIsCommand = false;
const lastSignalAt = {};

/** An expected end of the setup: `exit` is the exit code, `message` is text for the user, or empty. */
export class SetupError extends Error {
  constructor(exit, message) {
    super(message);
    this.exit = exit;
  }
}

function exitCodeOf(signal) {
  return 128 + constants.signals[signal];
}

function onSignal(signal) {
  const now = Date.now();
  const isEcho = now - (lastSignalAt[signal] || 0) < ECHO_MS;
  lastSignalAt[signal] = now;
  if (isEcho) return;
  if (!childIsCommand) interruption = interruption || signal;
  if (child) child.kill(childIsCommand ? signal : 'SIGKILL');
}

for (const signal of SIGNALS) process.on(signal, () => onSignal(signal));

/** Throws a SetupError if the user has interrupted the setup. */
export function checkInterrupted() {
  if (interruption)
    throw new SetupError(exitCodeOf(interruption), 'Interrupted. Run the command again to continue.');
}

export function pause(milliseconds) {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
  });
}

/** Waits for a child process to end and returns its exit code; 128 + N if signal N ended it. */
function waitForExit(running) {
  return new Promise((resolve, reject) => {
    running.on('error', reject);
    running.on('close', (code, signal) => resolve(signal ? exitCodeOf(signal) : code));
  });
}

/**
 * Runs a program as a part of the setup, without input. Returns its exit code, the end of its output (stdout
 * and stderr), and whether it timed out. Kills the program after `timeoutMs`, or when the user interrupts the
 * setup, so it must be one that can be killed at any moment. Throws a SetupError if the user interrupts.
 */
export async function runQuietly(command, args, { cwd, timeoutMs, env = process.env }) {
  checkInterrupted();
  let output = '';
  let timedOut = false;
  child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const running = child;
  for (const stream of [running.stdout, running.stderr]) {
    stream.setEncoding('utf8');
    stream.on('data', (text) => {
      output = (output + text).slice(-TAIL_CHARS);
    });
  }
  const timer = setTimeout(() => {
    timedOut = true;
    running.kill('SIGKILL');
  }, timeoutMs);
  try {
    const code = await waitForExit(running);
    checkInterrupted();
    return { code, output, timedOut };
  } finally {
    clearTimeout(timer);
    child = null;
  }
}

/** Runs the command that the setup was for, on this process's stdin, stdout and stderr. Returns its exit code. */
export async function runCommand(command, args) {
  child = spawn(command, args, { stdio: 'inherit' });
  childIsCommand = true;
  return waitForExit(child);
}

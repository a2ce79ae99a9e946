/**
 * Running other programs, and being interrupted, for src/setup.mjs.
 *
 * Ctrl+C in a terminal reaches this process, npm and the child alike, and npm sends it on once more; a
 * signal sent to npm or to this process alone reaches nobody else. So signals are passed on, but one that
 * comes within a second of the same one is taken for its echo. (The child may still see two, from the
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
const lastSeen = {};

/** The end of the set-up, foreseen: `message` is one plain line for the user, or nothing. */
export class Stop extends Error {
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
  const isEcho = now - (lastSeen[signal] || 0) < ECHO_MS;
  lastSeen[signal] = now;
  if (isEcho) return;
  if (!childIsCommand) interruption = interruption || signal;
  if (child) child.kill(childIsCommand ? signal : 'SIGKILL');
}

for (const signal of SIGNALS) process.on(signal, () => onSignal(signal));

/** Ends the set-up here if the user has asked for it. */
export function checkInterrupted() {
  if (interruption) throw new Stop(exitCodeOf(interruption), 'Interrupted. Run it again to go on.');
}

export function pause(milliseconds) {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
  });
}

function ended(running) {
  return new Promise((resolve, reject) => {
    running.on('error', reject);
    running.on('close', (code, signal) => resolve(signal ? exitCodeOf(signal) : code));
  });
}

/**
 * Runs a program as a part of the set-up, for at most `limit` milliseconds, with no input. Answers with its
 * exit code and the end of what it wrote to stdout and stderr. It must be one that may be killed at any moment;
 * it is when its time is over, and when the set-up is interrupted, which then throws Stop.
 */
export async function runQuietly(command, args, { cwd, limit, env = process.env }) {
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
  }, limit);
  try {
    const code = await ended(running);
    checkInterrupted();
    return { code, output, timedOut };
  } finally {
    clearTimeout(timer);
    child = null;
  }
}

/** Runs the command that all this was for, with this process's own stdin, stdout and stderr; its exit code. */
export async function runInstead(command, args) {
  child = spawn(command, args, { stdio: 'inherit' });
  childIsCommand = true;
  return ended(child);
}

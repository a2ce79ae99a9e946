import { createInterface } from 'node:readline/promises';
import { PiwError } from '../errors.js';

/**
 * Asks a yes/no question at the terminal. Returns false if stdin is not a terminal, or is closed with Ctrl+D. Throws
 * PIW_INTERRUPTED after Ctrl+C.
 */
export async function confirm(question: string): Promise<boolean> {
  if (!process.stdin.isTTY) return false;
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const ended = new Promise<string>((resolve, reject) => {
    terminal.once('SIGINT', () => {
      process.stderr.write('\n');
      reject(new PiwError('PIW_INTERRUPTED', 'interrupted before anything was changed'));
    });
    terminal.once('close', () => {
      resolve('');
    });
  });
  try {
    const answer = await Promise.race([terminal.question(`${question} [y/N] `), ended]);
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    terminal.close();
  }
}

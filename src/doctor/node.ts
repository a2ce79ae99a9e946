import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Check } from './check.js';

/** Returns the finding for a version of Node; undefined if it is at least the required one (`>=20.9.0`). */
function nodeProblem(version: string, required: string): string | undefined {
  const numbers = (text: string) =>
    text
      .replace(/^[^\d]*/, '')
      .split('.')
      .map(Number);
  const current = numbers(version);
  const difference = numbers(required)
    .map((part, i) => (current[i] ?? 0) - part)
    .find((part) => part !== 0);
  return (difference ?? 0) < 0 ? `this is Node ${version}, but piw needs ${required}` : undefined;
}

export const nodeVersion: Check = {
  name: 'node',
  applies: () => true,
  run: ({ root }) => {
    const { engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      readonly engines: { readonly node: string };
    };
    const problem = nodeProblem(process.versions.node, engines.node);
    return problem === undefined
      ? []
      : [{ problem, fix: 'install a newer Node, for example from https://nodejs.org' }];
  },
};

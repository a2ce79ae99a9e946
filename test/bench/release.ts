import type { Bench } from './bench.js';

export const release: Bench = {
  name: 'release',
  summary: 'from the moment the index shows a release until BUILD at an idle slave',
  options: { releases: 200 },
  run: () => Promise.reject(new Error('not yet')),
};

import type { ResourceShortage } from '../builder/resource-shortage.js';

/** What a slave is doing, for whoever started it. */
export type SlaveProgress =
  | { readonly state: 'hello'; readonly slaveId: number }
  | { readonly state: 'building'; readonly package: string; readonly version: string; readonly line: string }
  | { readonly state: 'sending'; readonly filename: string; readonly sent: number; readonly size: number }
  | { readonly state: 'trouble'; readonly text: string; readonly code: string }
  | { readonly state: 'resting'; readonly of: ResourceShortage['of']; readonly text: string }
  | { readonly state: 'idle' };

export type OnProgress = (progress: SlaveProgress) => void;

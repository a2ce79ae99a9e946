import { Flags } from '@oclif/core';
import { QUEUE_KEYS } from '../settings/piwheels-queues.js';

type QueueOption = (typeof QUEUE_KEYS)[number];

const queueFlag = Flags.string({ hidden: true, helpValue: 'ADDR' });

/** Returns the definitions of options that are accepted so that old command lines work, and have no effect. */
export const queueFlags = <Name extends QueueOption>(
  ...names: readonly Name[]
): Record<Name, typeof queueFlag> =>
  Object.fromEntries(names.map((name) => [name, { ...queueFlag }])) as Record<Name, typeof queueFlag>;

/** Those of piw-master. */
export const allQueueFlags = queueFlags(...QUEUE_KEYS);

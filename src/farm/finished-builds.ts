import type { Bus } from '../bus/bus.js';
import { status } from '../protocols/control.js';
import type { FarmEvent } from './events.js';

/** Emits an event for every build that the master reports, until the connection is closed. */
export async function followBuilds(bus: Bus, onEvent: (event: FarmEvent) => void): Promise<void> {
  for await (const incoming of bus.subscribe(bus.subject(status.name, 'BUILD'))) {
    const message = status.unpack(await incoming.body());
    if (message.verb !== 'BUILD') continue;
    const { package: name, version, abi, failure_class, duration_s, retry_after_s } = message;
    onEvent({
      event: 'built',
      package: name,
      version,
      abi,
      status: message.status,
      failure_class,
      why: message.reason,
      duration_s,
      retry_after_s,
    });
  }
}

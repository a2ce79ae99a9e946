import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import { Bus, type BusOptions } from '../../src/bus/bus.js';

/** Returns the address of the tests' nats-server. */
export function natsAddress(): string {
  const address = process.env['PIW_TEST_NATS'];
  if (address === undefined) throw new Error('PIW_TEST_NATS is not set: run the tests with npm test');
  return address;
}

/** Returns a prefix that is unique to a test: tests share the server, but not the subjects. */
export const uniquePrefix = (): string => `t${randomBytes(5).toString('hex')}`;

/** Returns a connection that ends with the test. */
export async function testBus(t: Test, prefix: string, options: Partial<BusOptions> = {}): Promise<Bus> {
  const bus = await Bus.connect({ address: natsAddress(), name: t.name, prefix, ...options });
  t.teardown(() => bus.drain());
  return bus;
}

/**
 * Waits for a condition; throws after `limitMs`. It checks every 5 ms at first, and more and more rarely while it
 * waits: a test that waits for seconds would use as much processor time as what it waits for.
 */
export async function until(condition: () => boolean | Promise<boolean>, limitMs = 60_000): Promise<void> {
  const start = performance.now();
  while (!(await condition())) {
    const waited = performance.now() - start;
    if (waited > limitMs) throw new Error(`the condition was not met within ${limitMs / 1000} s`);
    await sleep(Math.min(100, Math.max(5, waited / 10)));
  }
}

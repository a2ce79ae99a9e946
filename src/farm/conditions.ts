import { ConditionBoard } from '../actor/conditions.js';
import { systemClock } from '../concurrency/clock.js';
import type { Bus } from '../bus/bus.js';
import { rethrowUnexpected } from '../errors.js';
import { REPORT_INTERVAL_S, conditionReports, type Condition } from '../protocols/conditions.js';

/** Emits an event when a condition begins and when it ends, until the connection is closed. */
export async function followConditions(
  bus: Bus,
  onEvent: (event: { readonly event: 'setup' | 'trouble'; readonly text: string }) => void,
): Promise<void> {
  const board = new ConditionBoard(systemClock);
  let reported = new Map<string, Condition>();
  const reportChanges = (): void => {
    const current = new Map<string, Condition>(
      board.list().map((condition) => [`${condition.kind} ${condition.subject}`, condition]),
    );
    for (const [name, { text }] of current)
      if (!reported.has(name)) onEvent({ event: 'trouble', text: `${name}: ${text}` });
    for (const name of reported.keys())
      if (!current.has(name)) onEvent({ event: 'setup', text: `${name}: resolved` });
    reported = current;
  };
  // The conditions of a process that died expire without a report.
  const timer = setInterval(reportChanges, REPORT_INTERVAL_S * 1000);
  try {
    for await (const incoming of bus.subscribe(bus.subject(conditionReports.name, 'REPORT'))) {
      try {
        const { source, conditions } = conditionReports.unpack(await incoming.body());
        board.report(source, conditions);
        reportChanges();
      } catch (error) {
        rethrowUnexpected(error);
        // The sender has another version, or is not piw: the master logs it.
      }
    }
  } finally {
    clearInterval(timer);
  }
}

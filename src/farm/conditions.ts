import { ConditionBoard } from '../actor/conditions.js';
import { systemClock } from '../concurrency/clock.js';
import type { Bus } from '../bus/bus.js';
import { PiwError } from '../errors.js';
import { REPORT_INTERVAL_S, conditionReports, type Condition } from '../protocols/conditions.js';

/** Tells the terminal of each condition when it begins and when it has ended, until the connection is closed. */
export async function followConditions(
  bus: Bus,
  onEvent: (event: { readonly event: 'setup' | 'trouble'; readonly text: string }) => void,
): Promise<void> {
  const board = new ConditionBoard(systemClock);
  let reported = new Map<string, Condition>();
  const reportChanges = (): void => {
    const current = new Map<string, Condition>(
      board.list().map((one) => [`${one.kind} ${one.subject}`, one]),
    );
    for (const [name, { text }] of current)
      if (!reported.has(name)) onEvent({ event: 'trouble', text: `${name}: ${text}` });
    for (const name of reported.keys())
      if (!current.has(name)) onEvent({ event: 'setup', text: `${name}: this is over` });
    reported = current;
  };
  // Those of a process that died end without a report.
  const timer = setInterval(reportChanges, REPORT_INTERVAL_S * 1000);
  try {
    for await (const incoming of bus.subscribe(bus.subject(conditionReports.name, 'REPORT'))) {
      try {
        const { source, conditions } = conditionReports.unpack(await incoming.body());
        board.report(source, conditions);
        reportChanges();
      } catch (error) {
        if (!(error instanceof PiwError)) throw error;
        // Of another version, or not from piw: the master's log says so.
      }
    }
  } finally {
    clearInterval(timer);
  }
}

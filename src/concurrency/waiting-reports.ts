import { systemClock } from './clock.js';

/** The delay before the first report of what is being waited for, and the interval of the following, milliseconds. */
const REPORT_DELAYS_MS = { first: 2000, every: 15_000 };

/** Runs `action`, and calls `report` after two seconds and then every fifteen until the action has settled. */
export async function withWaitingReports<T>(
  report: () => void,
  action: () => Promise<T>,
  clock = systemClock,
): Promise<T> {
  let cancelReport = (): void => undefined;
  const scheduleReport = (ms: number): void => {
    cancelReport = clock.after(ms, () => {
      report();
      scheduleReport(REPORT_DELAYS_MS.every);
    });
  };
  scheduleReport(REPORT_DELAYS_MS.first);
  try {
    return await action();
  } finally {
    cancelReport();
  }
}

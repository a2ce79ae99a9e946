/** When whoever waits is told what for, milliseconds: the first time, and after that. */
const REPORT_DELAYS_MS = { first: 2000, every: 15_000 };

/** Does `what`, and calls `report` after two seconds and then every fifteen until it is done. */
export async function withWaitingReports<T>(report: () => void, action: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const scheduleReport = (ms: number): void => {
    timer = setTimeout(() => {
      report();
      scheduleReport(REPORT_DELAYS_MS.every);
    }, ms);
  };
  scheduleReport(REPORT_DELAYS_MS.first);
  try {
    return await action();
  } finally {
    clearTimeout(timer);
  }
}

/** When whoever waits is told what for, milliseconds: the first time, and after that. */
const REPORT_MS = { first: 2000, every: 15_000 };

/** Does `what`, and calls `report` after two seconds and then every fifteen until it is done. */
export async function whileWaiting<T>(report: () => void, what: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const next = (ms: number): void => {
    timer = setTimeout(() => {
      report();
      next(REPORT_MS.every);
    }, ms);
  };
  next(REPORT_MS.first);
  try {
    return await what();
  } finally {
    clearTimeout(timer);
  }
}

import type { SlaveStatus } from '../protocols/control.js';
import { formatTable, stripControlCharacters } from './table.js';

/** Formats slaves as a table with columns number, label, target, state, duration and activity. `now` is in ms since 1970. */
export function slaveTable(slaves: readonly SlaveStatus[], now: number): readonly string[] {
  const rows = [...slaves]
    .sort((a, b) => a.slave_id - b.slave_id)
    .map((slave) => [
      String(slave.slave_id),
      stripControlCharacters(slave.label),
      `${slave.abi} ${slave.platform}`,
      slave.state,
      formatDuration(now - slave.since),
      slave.package === null
        ? stripControlCharacters(slave.note ?? '')
        : `${slave.package} ${slave.version ?? ''}`,
    ]);
  return formatTable([['#', 'label', 'target', 'state', 'for', 'activity'], ...rows]);
}

/** Formats a duration in its largest unit: `45 s`, `12 min`, `3 h`, `2 d`. */
export function formatDuration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

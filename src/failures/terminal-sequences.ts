/**
 * Matches the control sequences that programs send to a terminal: CSI with its parameters (group 1: those of SGR),
 * OSC and similar strings up to their terminator, two-character sequences. The flag `g` makes it stateful: exec()
 * continues at its `lastIndex`.
 */
export const TERMINAL_SEQUENCE =
  // eslint-disable-next-line no-control-regex
  /(?:\u001b\[|\u009b)(?:([\d;:]{0,100})m|[0-?]{0,100}[ -/]{0,20}[@-~])|(?:\u001b[\]PX^_]|[\u0090\u0098\u009d-\u009f])[^\n\u0007\u001b\u009c]{0,5000}(?:\u0007|\u001b\\|\u009c)?|\u001b[ -/]{0,4}[0-~]/g;

/** Returns a log without terminal sequences, with the same number of lines. */
export const stripTerminalSequences = (text: string): string =>
  text.includes('\u001b') || text.includes('\u009b') ? text.replace(TERMINAL_SEQUENCE, '') : text;

/** Returns a line of a log without what would move a terminal's cursor or change its state. */
export const printableLine = (line: string): string =>
  // eslint-disable-next-line no-control-regex
  stripTerminalSequences(line).replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ');

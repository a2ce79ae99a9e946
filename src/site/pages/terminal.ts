import { TERMINAL_SEQUENCE } from '../../failures/terminal-sequences.js';
import { escape } from './html.js';

/**
 * Returns a line as a terminal would have shown it, as HTML. Colours and bold become classes; all other escape
 * sequences (cursor movement, titles, links) and control characters are removed. Of a line that overwrote itself, as
 * progress bars do, only the last state is shown. Updates `style`, which carries over to the following lines.
 */
export function terminalLine(line: string, style: TerminalStyle): string {
  const visible = afterLastReturn(line);
  if (!UNPRINTABLE.test(visible)) return styled(visible, style);
  let [out, from] = ['', 0];
  TERMINAL_SEQUENCE.lastIndex = 0;
  for (let match = TERMINAL_SEQUENCE.exec(visible); match; match = TERMINAL_SEQUENCE.exec(visible)) {
    out += styled(withoutControls(visible.slice(from, match.index)), style);
    from = match.index + match[0].length;
    if (match[1] !== undefined) applySgr(match[1], style);
  }
  return out + styled(withoutControls(visible.slice(from)), style);
}

/** The style that the last sequences selected. It stays in effect, also on the following lines, until it is changed. */
export interface TerminalStyle {
  /** 0 to 15, or undefined for the page's own text colour. */
  colour: number | undefined;
  bold: boolean;
}

export const noStyle = (): TerminalStyle => ({ colour: undefined, bold: false });

// eslint-disable-next-line no-control-regex
const UNPRINTABLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/;
const withoutControls = (text: string): string =>
  // eslint-disable-next-line no-control-regex
  text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, '');

function afterLastReturn(line: string): string {
  const text = line.endsWith('\r') ? line.slice(0, -1) : line;
  const at = text.lastIndexOf('\r');
  return at < 0 ? text : text.slice(at + 1);
}

function styled(text: string, { colour, bold }: TerminalStyle): string {
  if (text === '') return '';
  if (colour === undefined && !bold) return escape(text);
  const kinds = [colour === undefined ? '' : `c${colour}`, bold ? 'bold' : ''].filter((kind) => kind !== '');
  return `<span class="${kinds.join(' ')}">${escape(text)}</span>`;
}

/** Applies the parameters of an SGR sequence, as far as the site has a style for them. */
function applySgr(parameters: string, style: TerminalStyle): void {
  const numbers = parameters.split(/[;:]/).map(Number);
  for (let i = 0; i < numbers.length; i += 1) {
    const n = numbers[i] ?? 0;
    if (n === 0) [style.colour, style.bold] = [undefined, false];
    else if (n === 1) style.bold = true;
    else if (n === 22) style.bold = false;
    else if (n >= 30 && n <= 37) style.colour = n - 30;
    else if (n >= 90 && n <= 97) style.colour = n - 90 + 8;
    else if (n === 39) style.colour = undefined;
    else if (n === 38 || n === 48) {
      // One of 256 colours, or red, green and blue: the site has styles only for the first 16.
      const colourSpace = numbers[i + 1];
      const colourIndex = numbers[i + 2] ?? 0;
      if (n === 38) style.colour = colourSpace === 5 && colourIndex < 16 ? colourIndex : undefined;
      i += colourSpace === 2 ? 4 : 2;
    }
  }
}

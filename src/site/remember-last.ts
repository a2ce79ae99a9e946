/**
 * Returns a function that formats a value only if it is not the same as the value before it, since neighbours on a page
 * mostly have the same requires-python, the same tools and the same dependencies. `isSame` compares two values.
 */
export function rememberLast<T>(
  format: (value: T) => string,
  isSame: (a: T, b: T) => boolean = Object.is,
): (value: T) => string {
  let last: { readonly value: T; readonly text: string } | undefined;
  return (value) => {
    if (last && isSame(last.value, value)) return last.text;
    const text = format(value);
    // Makes V8 turn the text from a tree of its parts into one sequence of characters, which is faster to copy.
    text.charCodeAt(0);
    last = { value, text };
    return text;
  };
}

/** Returns true if two lists have the same items in the same order. */
export function isSameList<T>(
  a: readonly T[],
  b: readonly T[],
  isSame: (a: T, b: T) => boolean = Object.is,
): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i += 1) if (!isSame(a[i] as T, b[i] as T)) return false;
  return true;
}

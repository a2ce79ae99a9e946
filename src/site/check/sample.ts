/** Which projects are checked. */
export type Which =
  | { readonly kind: 'all' }
  | { readonly kind: 'names'; readonly names: readonly string[] }
  /** So many of them, each as likely as any other. */
  | { readonly kind: 'sample'; readonly size: number };

/** The projects that are meant, of those that there are; names are taken as they are, also ones that there aren't. */
export function chosen(which: Which, names: readonly string[]): readonly string[] {
  if (which.kind === 'names') return which.names;
  if (which.kind === 'all' || which.size >= names.length) return names;
  const left = [...names];
  const taken: string[] = [];
  while (taken.length < which.size) {
    const at = Math.floor(Math.random() * left.length);
    const last = left.pop();
    if (last === undefined) break;
    taken.push(left[at] ?? last);
    if (at < left.length) left[at] = last;
  }
  return taken.sort();
}

/** Which projects are checked. */
export type ProjectSelection =
  | { readonly kind: 'all' }
  | { readonly kind: 'names'; readonly names: readonly string[] }
  /** A uniform random sample of `size` projects. */
  | { readonly kind: 'sample'; readonly size: number };

/** Returns the selected names out of `names`; explicitly selected names also if they are not among them. */
export function selectProjects(selection: ProjectSelection, names: readonly string[]): readonly string[] {
  if (selection.kind === 'names') return selection.names;
  if (selection.kind === 'all' || selection.size >= names.length) return names;
  const remaining = [...names];
  const sample: string[] = [];
  while (sample.length < selection.size) {
    const index = Math.floor(Math.random() * remaining.length);
    const last = remaining.pop();
    if (last === undefined) break;
    sample.push(remaining[index] ?? last);
    if (index < remaining.length) remaining[index] = last;
  }
  return sample.sort();
}

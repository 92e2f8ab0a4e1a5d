/** "30000-32767": a range of ports as Kubernetes writes it. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** null: it is none. */
export function readPortRange(text: string): PortRange | null {
  const [, first, last] = /^(\d{1,5})-(\d{1,5})$/.exec(text) ?? [];
  const range = { first: Number(first), last: Number(last) };
  return range.first >= 1 && range.first <= range.last && range.last <= 65_535 ? range : null;
}

/** Of the setting `nodePortRange`, which was checked when it was read. */
export function portRange(text: string): PortRange {
  const range = readPortRange(text);
  if (range === null) throw new RangeError(`${text} is no range of ports`);
  return range;
}

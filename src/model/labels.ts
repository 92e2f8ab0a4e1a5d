/** Labels and selectors over them, as Kubernetes defines them (LabelSelector of meta/v1). */

/** As objects carry them. */
export type Labels = Readonly<Record<string, string>>;

/** Labels for matching. A Map, because a label may be called "constructor". */
export type LabelMap = ReadonlyMap<string, string>;

export type LabelOperator = "In" | "NotIn" | "Exists" | "DoesNotExist";

export interface Requirement {
  readonly key: string;
  readonly operator: LabelOperator;
  /** Sorted; empty for Exists and DoesNotExist. */
  readonly values: readonly string[];
}

/** All requirements hold; none: everything is selected. Equal selectors have equal text. */
export interface Selector {
  readonly requirements: readonly Requirement[];
  readonly text: string;
}

export function labelMap(labels: Labels): LabelMap {
  return new Map(Object.entries(labels));
}

/** By UTF-16 code units: the same everywhere, unlike a comparison by locale. */
export function compareText(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}

export function requirement(key: string, operator: LabelOperator, values: readonly string[] = []): Requirement {
  return { key, operator, values: [...new Set(values)].sort(compareText) };
}

export function makeSelector(requirements: readonly Requirement[]): Selector {
  const byText = new Map(requirements.map((each) => [requirementText(each), each] as const));
  const texts = [...byText.keys()].sort(compareText);
  return { requirements: texts.flatMap((text) => byText.get(text) ?? []), text: texts.join(",") };
}

function requirementText({ key, operator, values }: Requirement): string {
  return values.length === 0 ? `${operator} ${key}` : `${operator} ${key} (${values.join("|")})`;
}

/** NotIn and DoesNotExist hold also where the key is absent. */
export function selects(selector: Selector, labels: LabelMap): boolean {
  return selector.requirements.every((each) => holds(each, labels.get(each.key)));
}

function holds({ operator, values }: Requirement, value: string | undefined): boolean {
  switch (operator) {
    case "In":
      return value !== undefined && values.includes(value);
    case "NotIn":
      return value === undefined || !values.includes(value);
    case "Exists":
      return value !== undefined;
    case "DoesNotExist":
      return value === undefined;
  }
}

/** What the agent reports of its own state: problems have an object, a text and a remedy, and go away when mended. */

export type Severity = "error" | "warning";

/** One problem of one object ("CiliumNetworkPolicy shop/api"), as `tandem status` and the API show it. */
export interface Problem {
  /** Stable code, as POLICY_PORT_RANGE. */
  readonly code: string;
  readonly severity: Severity;
  /** Kind and name of what it is about, or the file. */
  readonly object: string;
  /** Field path or line, "" if the whole object. */
  readonly field: string;
  readonly message: string;
  /** What to do about it. */
  readonly remedy: string;
}

/** One that is told at present. */
export interface ToldProblem extends Problem {
  /** When it was told first, though in other words; ISO 8601. */
  readonly since: string;
}

/** Where components leave their problems: each replaces all of what it said before under its own topic. */
export interface ConditionSink {
  report(topic: string, problems: readonly Problem[]): void;
}

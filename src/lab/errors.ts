/** Failures of the lab, each with a stable code, the object concerned and what to do. */
export class LabError extends Error {
  readonly code: string;
  readonly object: string;
  readonly remedy: string;

  constructor(code: string, object: string, message: string, remedy: string) {
    super(`${code}: ${object}: ${message}${remedy === "" ? "" : ` (${remedy})`}`);
    this.name = "LabError";
    this.code = code;
    this.object = object;
    this.remedy = remedy;
  }
}

/** A command that failed: what was asked, what happened and what to do, and the exit code that says which kind it was. */
export class CliError extends Error {
  readonly code: string;
  readonly remedy: string;
  /** 1: the answer is bad news or the request was wrong; 2: the agent cannot be reached. */
  readonly exitCode: number;

  constructor(options: {
    readonly code: string;
    readonly message: string;
    readonly remedy: string;
    readonly exitCode: number;
    readonly cause?: unknown;
  }) {
    super(options.message, { cause: options.cause });
    this.name = "CliError";
    this.code = options.code;
    this.remedy = options.remedy;
    this.exitCode = options.exitCode;
  }
}

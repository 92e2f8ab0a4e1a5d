/** A request that cannot be answered: {error: {code, message, remedy}} with this HTTP status. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly remedy: string;

  constructor(status: number, code: string, message: string, remedy: string) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.remedy = remedy;
  }
}

/** The answer's body for any failure; what is not an ApiError is the agent's own fault. */
export function errorBody(error: unknown): { readonly status: number; readonly text: string } {
  if (error instanceof ApiError) {
    const { status, code, message, remedy } = error;
    return { status, text: JSON.stringify({ error: { code, message, remedy } }) };
  }
  const message = error instanceof Error ? error.message : String(error);
  const known = error instanceof Error ? (error as { readonly code?: unknown; readonly remedy?: unknown }) : {};
  return {
    status: 500,
    text: JSON.stringify({
      error: {
        code: typeof known.code === "string" ? known.code : "INTERNAL",
        message,
        remedy: typeof known.remedy === "string" ? known.remedy : "read the agent's log",
      },
    }),
  };
}

/** The API server's answers as values: decoded, or as the failure that they tell of. */
import { messageOf, TandemError } from "../lib/errors.ts";
import { KubeAnswerError, type KubeStatusError, statusError } from "./errors.ts";
import { isRecord, type Status } from "./objects.ts";
import type { Answer } from "./transport.ts";

/** Bytes of an answer that is decoded as a whole; an object has at most 3 MB. */
const answerLimit = 64 * 1024 * 1024;

export async function textOf(answer: Answer): Promise<string> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of answer.pieces) {
    pieces.push(piece);
    length += piece.length;
    if (length > answerLimit) throw new RangeError(`it has more than ${answerLimit} bytes`);
  }
  return Buffer.concat(pieces).toString("utf8");
}

/** What `read` throws about the answer's text is a KubeAnswerError. */
export async function decode<T>(title: string, answer: Answer, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    answer.discard();
    const ours = error instanceof SyntaxError || error instanceof RangeError;
    throw ours ? answerError(title, messageOf(error), error) : error;
  }
}

export async function refusal(title: string, answer: Answer): Promise<KubeStatusError> {
  const after = Number(answer.header("retry-after") ?? Number.NaN);
  let text = "";
  try {
    text = await textOf(answer);
  } catch (error) {
    // The status is known; that its explanation did not come changes nothing.
    if (!(error instanceof TandemError || error instanceof RangeError)) throw error;
    answer.discard();
  }
  let value: unknown = null;
  try {
    value = JSON.parse(text);
  } catch {
    // A proxy's page, or plain text as "404 page not found".
  }
  const status: Status = isRecord(value) && value.kind === "Status" ? value : { message: text.slice(0, 200).trim() };
  // Of the HTTP status, in case the body has none.
  return statusError(title, answer.status, status, Number.isFinite(after) && after >= 0 ? after * 1_000 : null);
}

export function answerError(title: string, message: string, cause?: unknown): KubeAnswerError {
  return new KubeAnswerError({
    code: "KUBE_ANSWER",
    object: title,
    message: `the answer cannot be understood: ${message}`,
    remedy: "see that the address is that of a Kubernetes API server and not of something before it",
    cause,
  });
}

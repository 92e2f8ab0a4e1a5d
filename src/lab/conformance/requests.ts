/** Requests of HTTP from the places of a case, as curl sends them. */
import { run } from "../run.ts";
import type { Attempt } from "./attempts.ts";
import type { HttpRequest } from "./case.ts";
import type { ProbeEvent, Prober } from "./prober.ts";

/** The status goes behind what the server says, on a line of its own. */
const statusLine = "\n%{http_code}";
/** Exit codes of curl: no connection, no time left. */
const couldNotConnect = 7;
const tookTooLong = 28;

/**
 * One request on a connection of its own.
 * @param timeoutMs for all of it
 */
export async function sendRequest(
  prober: Pick<Prober, "place" | "commandIn">,
  attempt: Attempt & { readonly id: number },
  request: HttpRequest,
  timeoutMs: number,
  onEvent: (event: ProbeEvent) => void,
): Promise<void> {
  const { destination, port, source, id, place } = attempt;
  const host = destination.includes(":") ? `[${destination}]` : destination;
  const { method, path, headers } = request;
  const words = [
    ...["curl", "-sg", "--path-as-is", "--http1.1", "--interface", source, "-m", String(timeoutMs / 1000)],
    ...(method === "HEAD" ? ["-I", "-o", "/dev/null"] : ["-X", method]),
    ...headers.flatMap(([name, value]) => ["-H", value === "" ? `${name};` : `${name}: ${value}`]),
    ...(request.host === null ? [] : ["-H", `Host: ${request.host}`]),
    ...["-w", statusLine, `http://${host}:${port}${path}`],
  ];
  const start = performance.now();
  const { code, stdout } = await run(prober.commandIn(words), { timeoutMs: timeoutMs + 5_000 });
  const ms = Math.round(performance.now() - start);
  const status = Number(stdout.slice(stdout.lastIndexOf("\n") + 1));
  const name = stdout.slice(0, Math.max(0, stdout.indexOf("\n")));
  if (code === 0 && status === 403) onEvent({ id, place, outcome: { kind: "forbidden", how: "403", ms } });
  // An answer without a body names nobody.
  else if (code === 0 && status === 200)
    onEvent({
      id,
      place,
      outcome: { kind: "answer", name: method === "HEAD" ? (attempt.servers[0] ?? "") : name, ms },
    });
  else if (code === 0) onEvent({ id, place, outcome: { kind: "failed", why: `status ${status}` } });
  else if (code === couldNotConnect && ms < timeoutMs)
    onEvent({ id, place, outcome: { kind: "refused", why: "no connection" } });
  else if (code !== tookTooLong) onEvent({ id, place, outcome: { kind: "failed", why: `curl ends with ${code}` } });
}

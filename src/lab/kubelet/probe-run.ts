/** One probe, as kubelet sends it: from the node, so that what a policy allows a node to reach decides here, too. */
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { connect } from "node:net";
import type { KubeletContainer } from "./pod.ts";
import { type Probe, portNumber } from "./probe-spec.ts";

export interface ProbeTarget {
  /** The pod's address. */
  readonly ip: string;
  readonly container: KubeletContainer;
  /** Runs a command in the container. @returns its exit code */
  readonly exec: (command: readonly string[], timeoutMs: number, signal: AbortSignal) => Promise<number>;
}

export interface ProbeResult {
  readonly ok: boolean;
  /** What was seen, for people. */
  readonly message: string;
}

/** Never rejects but with the signal: whatever goes wrong is a failed probe. */
export async function runProbe(probe: Probe, target: ProbeTarget, signal: AbortSignal): Promise<ProbeResult> {
  // The API takes 0 for the default.
  const timeoutMs = (probe.timeoutSeconds || 1) * 1000;
  try {
    return await attempt(probe, target, timeoutMs, signal);
  } catch (error) {
    signal.throwIfAborted();
    return { ok: false, message: error instanceof Error ? error.message : String(error) };
  }
}

async function attempt(
  probe: Probe,
  target: ProbeTarget,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<ProbeResult> {
  const { httpGet, tcpSocket, exec } = probe;
  if (exec !== undefined) {
    const code = await target.exec(exec.command, timeoutMs, signal);
    return { ok: code === 0, message: `exit code ${code}` };
  }
  const limited = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
  if (httpGet !== undefined) {
    const status = await httpStatus(
      httpGet,
      httpGet.host ?? target.ip,
      portNumber(httpGet.port, target.container),
      limited,
    );
    return { ok: status >= 200 && status < 400, message: `HTTP status ${status}` };
  }
  if (tcpSocket === undefined) return { ok: false, message: "it says neither httpGet nor tcpSocket nor exec" };
  await connectOnce(tcpSocket.host ?? target.ip, portNumber(tcpSocket.port, target.container), limited);
  return { ok: true, message: "connected" };
}

function httpStatus(
  get: NonNullable<Probe["httpGet"]>,
  host: string,
  port: number,
  signal: AbortSignal,
): Promise<number> {
  const headers = { "user-agent": "kube-probe/tandem-lab", accept: "*/*", connection: "close" };
  const given = Object.fromEntries(get.httpHeaders.map(({ name, value }) => [name.toLowerCase(), value]));
  const options = { host, port, path: get.path, headers: { ...headers, ...given }, signal, agent: false } as const;
  return new Promise((resolve, reject) => {
    const call =
      get.scheme === "HTTPS"
        ? // As kubelet: a probe asks whether it answers, not who it is.
          httpsRequest({ ...options, rejectUnauthorized: false })
        : httpRequest(options);
    call.once("response", (response) => {
      resolve(response.statusCode ?? 0);
      response.destroy();
    });
    call.once("error", reject);
    call.end();
  });
}

function connectOnce(host: string, port: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    const abort = () => socket.destroy(new Error("no connection in time"));
    signal.addEventListener("abort", abort, { once: true });
    socket.once("connect", () => {
      resolve();
      socket.destroy();
    });
    socket.once("error", reject);
    socket.once("close", () => signal.removeEventListener("abort", abort));
  });
}

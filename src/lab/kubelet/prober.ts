/** The probes of one running container: when each is sent, and what becomes of their results. */
import type { Clock } from "../../lib/clock.ts";
import type { KubeletContainer } from "./pod.ts";
import type { ProbeResult } from "./probe-run.ts";
import { type Probe, ProbeVerdict } from "./probe-spec.ts";

export interface ProberOptions {
  readonly container: KubeletContainer;
  readonly clock: Clock;
  /** Sends one probe. */
  readonly probe: (probe: Probe, signal: AbortSignal) => Promise<ProbeResult>;
  /** Told at each change. */
  readonly onReady: (ready: boolean, message: string) => void;
  readonly onStarted: () => void;
  /** It must be ended: its liveness or start-up probe failed as often as it may. Told once. */
  readonly onDead: (message: string) => void;
}

/** Until the signal, or until the container is found dead. Never rejects. */
export async function runProbes(options: ProberOptions, signal: AbortSignal): Promise<void> {
  const { startupProbe, livenessProbe, readinessProbe } = options.container;
  try {
    if (startupProbe !== undefined && !(await passesStartup(startupProbe, options, signal))) return;
    options.onStarted();
    if (readinessProbe === undefined) options.onReady(true, "");
    await Promise.all([
      ...(livenessProbe === undefined ? [] : [watchLiveness(livenessProbe, options, signal)]),
      ...(readinessProbe === undefined ? [] : [watchReadiness(readinessProbe, options, signal)]),
    ]);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

async function passesStartup(probe: Probe, options: ProberOptions, signal: AbortSignal): Promise<boolean> {
  for await (const { verdict, message } of results(probe, false, options, signal)) {
    if (verdict === null) continue;
    if (verdict) return true;
    options.onDead(`start-up probe: ${message}`);
    return false;
  }
  return false;
}

async function watchLiveness(probe: Probe, options: ProberOptions, signal: AbortSignal): Promise<void> {
  for await (const { verdict, message } of results(probe, true, options, signal)) {
    if (verdict !== false) continue;
    options.onDead(`liveness probe: ${message}`);
    return;
  }
}

async function watchReadiness(probe: Probe, options: ProberOptions, signal: AbortSignal): Promise<void> {
  let told = false;
  for await (const { verdict, message } of results(probe, false, options, signal)) {
    if (verdict === null || verdict === told) continue;
    told = verdict;
    options.onReady(verdict, message);
  }
}

/** Each result, with what the thresholds make of it; null: not enough in a row. */
async function* results(
  probe: Probe,
  initially: boolean,
  { clock, probe: send }: ProberOptions,
  signal: AbortSignal,
): AsyncGenerator<{ readonly verdict: boolean | null; readonly message: string }> {
  const verdict = new ProbeVerdict(probe, initially);
  await clock.sleep(probe.initialDelaySeconds * 1000, signal);
  for (;;) {
    const { ok, message } = await send(probe, signal);
    yield { verdict: verdict.take(ok) ? verdict.ok : null, message };
    // The API takes 0 for the default.
    await clock.sleep((probe.periodSeconds || 10) * 1000, signal);
  }
}

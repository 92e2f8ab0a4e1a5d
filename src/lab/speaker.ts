/** gobgpd and the injector, which writes its routes: what plays kube-router on a node, and a router that is gobgpd. */
import { join } from "node:path";
import { writeAtomically } from "./files.ts";
import type { InjectorConfig } from "./injector/compose.ts";
import { startDaemon, stopDaemon } from "./processes.ts";
import { program } from "./runtime.ts";

/** gobgpd's, in each namespace. */
const api = "127.0.0.1:50051";

export interface SpeakerPlace {
  readonly folder: string;
  readonly netns: string;
  readonly cgroup: string;
}

export interface SpeakerConfig {
  /** gobgpd's configuration. */
  readonly toml: string;
  /** Whether it tells peers that it comes back: they keep what they have of it until it has told all (RFC 4724, section 4.1). */
  readonly restarting: boolean;
  readonly injector: Omit<InjectorConfig, "api">;
}

/**
 * How the two, which are one process in kube-router, end. In order: peers hear of it (CEASE), and all that they told is withdrawn, from this kernel, too. Silent:
 * connections end without a word of BGP (NOTIFICATION), and routes stay; gobgpd itself says one on SIGTERM, whatever was agreed, kube-router with graceful
 * restart says none. Killed looks the same to peers.
 */
export type SpeakerEnd = "in order" | "silent" | "killed";

export async function startSpeaker(place: SpeakerPlace, config: SpeakerConfig): Promise<void> {
  const file = (name: string) => join(place.folder, name);
  const injector: InjectorConfig = { api, ...config.injector };
  await writeAtomically(file("gobgpd.toml"), config.toml);
  await writeAtomically(file("injector.json"), JSON.stringify(injector));
  const restarting = config.restarting ? ["--graceful-restart"] : [];
  await startDaemon({
    ...place,
    command: ["gobgpd", "-f", file("gobgpd.toml"), "--api-hosts", api, ...restarting],
    log: file("gobgpd.log"),
    pidFile: file("gobgpd.pid"),
  });
  await startDaemon({
    ...place,
    command: [...program("injector"), file("injector.json")],
    log: file("injector.log"),
    pidFile: file("injector.pid"),
  });
}

export async function stopSpeaker(folder: string, end: SpeakerEnd): Promise<void> {
  const gobgpd = join(folder, "gobgpd.pid");
  const injector = join(folder, "injector.pid");
  // The injector is told of what gobgpd withdraws as it ends, as far as it gets: kube-router has the same race with its own end.
  if (end === "in order") {
    await stopDaemon(gobgpd, "SIGTERM");
    await stopDaemon(injector, "SIGTERM");
    return;
  }
  await stopDaemon(injector, end === "killed" ? "SIGKILL" : "SIGTERM");
  await stopDaemon(gobgpd, "SIGKILL");
}

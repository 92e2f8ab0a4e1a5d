/** `tandem bpf …`: what is really in the kernel's maps, decoded. */
import type { Command } from "commander";
import type { CtDto, IpcacheDto, NatDto, PolicyMapDto, ServiceDto } from "../api/dto.ts";
import { registerBpfMaglev } from "./bpf-maglev.ts";
import { agentCommand, type CliContext } from "./context.ts";
import { listCommand, serviceHeadings, serviceRow } from "./lists.ts";
import { table } from "./table.ts";

export function registerBpf(context: CliContext, program: Command): void {
  const bpf = program.command("bpf").description("what is in the kernel's maps, decoded");
  const list = (name: string, about: string) => agentCommand(bpf.command(name).description(about), "list", about);

  listCommand<CtDto>(context, list("ct", "conntrack: the flows that this node knows"), "/v1/bpf/ct", (rows) =>
    table(
      ["PROTO", "SOURCE", "DESTINATION", "STATE", "AGE", "IDLE", "NAT", "EGRESS REV", "INGRESS REV"],
      rows.map((row) => [
        row.protocol,
        row.source,
        row.destination,
        row.state,
        `${row.ageSeconds}s`,
        `${row.idleSeconds}s`,
        row.nat ?? "-",
        row.egressRevision,
        row.ingressRevision,
      ]),
    ),
  );
  listCommand<NatDto>(
    context,
    list("nat", "flows whose source this node replaces: masqueraded, or to a service's backend on another node"),
    "/v1/bpf/nat",
    (rows) =>
      table(
        ["PROTO", "SOURCE", "DESTINATION", "SEEN FROM", "SEEN TO", "KIND", "STATE", "IDLE"],
        rows.map((row) => [
          row.protocol,
          row.source,
          row.destination,
          row.newSource,
          row.newDestination,
          row.kind,
          row.state,
          `${row.idleSeconds}s`,
        ]),
      ),
  );
  listCommand<IpcacheDto>(context, list("ipcache", "addresses and their identities"), "/v1/bpf/ipcache", (rows) =>
    table(
      ["IP", "IDENTITY", "LABELS"],
      rows.map((row) => [row.address, row.identity, row.labels.filter(isOfPod).join(" ")]),
    ),
  );
  listCommand<PolicyMapDto>(
    context,
    list("policy", "policy sets, one row per group of rules"),
    "/v1/bpf/policy",
    printPolicy,
  );
  listCommand<ServiceDto>(
    context,
    list("services", "service addresses and their backends"),
    "/v1/bpf/services",
    (rows) => table(serviceHeadings, rows.map(serviceRow)),
  );
  registerBpfMaglev(context, bpf);
}

/** Labels that follow from a pod's namespace and account fill a line with what nobody looks for; --json has them. */
const isOfPod = (label: string): boolean => !label.startsWith("k8s:io.cilium.k8s.");

function printPolicy(sets: readonly PolicyMapDto[]): string {
  return table(
    ["SET", "DIRECTION", "DEFAULT", "GROUP", "POLICY", "LABELS/IDENTITY", "PORT/PROTO", "RULES"],
    sets.flatMap((set) => {
      const fallback = set.enforced ? "deny" : "allow";
      if (set.groups.length === 0) return [[set.set, set.direction, fallback, "-", "-", "-", "-", "-"]];
      return set.groups.map((group) => [
        set.set,
        set.direction,
        fallback,
        group.group,
        group.action,
        group.peers.join("\n") || "ANY",
        group.ports.join("\n") || "ANY",
        group.origins.join("\n"),
      ]);
    }),
  );
}

/** `tandem policy …`: what policies do, offline on manifests and on a running agent. */
import { type Command, CommanderError, Option } from "commander";
import { type CliContext, socketOption } from "../context.ts";
import { registerPolicyGet } from "./get.ts";
import type { ImpactOptions } from "./impact.ts";
import type { ShowOptions } from "./show.ts";
import type { TraceOptions } from "./trace.ts";
import { registerPolicyWait } from "./wait.ts";

const about = `
With -f they work on manifests alone: no cluster, no agent, no root. get, wait, and trace without -f ask the agent of this node. -f takes
files, folders and - (standard input), also several times. Manifests may be those of a cluster (kubectl get ... -o yaml) or those of
a repository: pods of workloads, addresses and a node are made up where they are missing. --allow-lockout is the agents' setting
allowLockout: policies of nodes may close what a node needs to stay in its cluster.

Exit code: 0 all is well, 1 a mismatch or something invalid, 2 the command line or a file name is wrong.

Examples:
  tandem policy validate -f manifests/
  tandem policy test -f manifests/ -p probes.yaml
  tandem policy trace -f manifests/ --from shop/web --to svc/shop/api --port 80/TCP
  tandem policy show -f manifests/ shop/api
  tandem policy trace --from shop/web --to shop/api --port 8080/TCP
  tandem policy impact -f cluster.yaml --old before.yaml --new after.yaml --svg impact.svg
  tandem policy get
  tandem policy wait --timeout 5
`;

export function registerPolicy(context: CliContext, program: Command): void {
  const policy = program
    .command("policy")
    .description("what policies do: offline on manifests, and on a running agent");
  policy.addHelpText("after", about);
  // Inherited by the commands below: who writes a command line wrong is told by another code than who writes a policy wrong.
  policy.exitOverride((error) => {
    throw error.exitCode === 0 ? error : new CommanderError(2, error.code, error.message);
  });
  registerPolicyGet(context, policy);
  registerPolicyWait(context, policy);
  registerOffline(context, policy);
}

/** Options of an offline command. */
interface Offline {
  readonly filename: string[];
}

/** The engine is loaded when it is used: the command line starts in half the time. */
function registerOffline(context: CliContext, policy: Command): void {
  offlineCommand(policy, "validate", "tell everything that is wrong in manifests: all problems of all objects at once")
    .option("--strict", "warnings are errors", false)
    .addHelpText(
      "after",
      `
Each problem is told with file:line, object, field, and what to do. Exit code 1 if there is an error.

Examples:
  tandem policy validate -f policies.yaml
  tandem policy validate -f manifests/ --strict
  kubectl get cnp,ccnp,netpol -A -o yaml | tandem policy validate -f -
`,
    )
    .action(async (options: Offline & { readonly json: boolean; readonly strict: boolean }) =>
      (await import("./validate.ts")).validate(context, options),
    );
  offlineCommand(policy, "test", "try probes against policies: who connects to whom, and what has to come of it")
    .requiredOption("-p, --probes <file...>", "files of probes")
    .option("-q, --quiet", "print mismatches only", false)
    .addHelpText(
      "after",
      `
A file of probes:
  description: the database is for api only
  probes:
    - {from: shop/api, to: shop/database, port: 5432, expect: allow}
    - {from: shop/web, to: svc/shop/database, port: 5432, expect: deny}
    - {from: 203.0.113.7, to: shop/web, protocol: ICMP, icmp: {type: 8}, expect: allow}
Ends: NAMESPACE/POD, node/NAME, an address, and as a destination svc/NAMESPACE/NAME. Protocol: TCP (default), UDP, SCTP, ICMP, ICMPv6.
Optional: family (IPv4, IPv6), and resolved: [{name, addresses}], what the client has learned from DNS (for toFQDNs).
A request over the connection: http: {method, path, host, headers}, or dns: {name, server} instead of to. What nothing enforces yet is pending.

Examples:
  tandem policy test -f manifests/ -p probes.yaml
  tandem policy test -f cluster.yaml -f policies.yaml -p probes.yaml --json
`,
    )
    .action(
      async (
        options: Offline & { readonly json: boolean; readonly quiet: boolean; readonly probes: readonly string[] },
      ) => (await import("./test.ts")).testPolicies(context, options),
    );
  const traceCommand = policy
    .command("trace")
    .description("the decision about one connection, step by step: on manifests, or on the running agent")
    .option(
      "-f, --filename <path...>",
      "manifests: files, folders, or - for standard input (default: ask the agent)",
      collect,
    )
    .option("--json", "print JSON", false)
    .addOption(allowLockout())
    .addOption(socketOption())
    .requiredOption("--from <end>", "NAMESPACE/POD, node/NAME or an address")
    .requiredOption("--to <end>", "the same, or svc/NAMESPACE/NAME")
    .option("--port <number[/protocol]>", "of the destination or the service, as 8080/TCP (TCP is the default)")
    .option("--icmp <type>", "an ICMP message by number or name, as 8 or EchoRequest")
    .option("--icmp6 <type>", "an ICMPv6 message, as 128 or EchoRequest")
    .addOption(
      new Option("--family <number>", "address family (default: 4 where both ends have it)").choices(["4", "6"]),
    )
    .addHelpText(
      "after",
      `
Prints both ends with their identities, the translation of a service, the egress of the source and the ingress of the destination:
the groups of rules that name the peer, those that hold the port, and the one that decides. Where nothing allows it, the rules that
come near. Verdicts are the compiled bit vectors', as the kernel looks them up.
Without -f the agent of this node is asked: by what it knows now, pods of other nodes too, and for ends on its node also what its
kernel's maps say of the same packet.

Examples:
  tandem policy trace --from shop/web --to shop/api --port 8080
  tandem policy trace -f manifests/ --from shop/web --to shop/api --port 8080
  tandem policy trace -f manifests/ --from shop/web --to svc/shop/api --port 80/TCP --json
  tandem policy trace -f manifests/ --from 203.0.113.7 --to shop/web --icmp EchoRequest
`,
    )
    .action(async (options: TraceOptions) => (await import("./trace.ts")).trace(context, traceCommand, options));
  offlineCommand(
    policy,
    "show <subject>",
    "the resolved rules of a pod (NAMESPACE/POD) or of a node itself (node/NAME): peers, ports, where they come from",
  )
    .addHelpText(
      "after",
      `
Per direction the default and the groups in the order in which they decide: denies, allows, L7.

Examples:
  tandem policy show -f manifests/ shop/api
  tandem policy show shop/api -f manifests/ --json
  tandem policy show node/worker-1 -f manifests/
`,
    )
    .action(async (subject: string, options: ShowOptions) =>
      (await import("./show.ts")).show(context, subject, options),
    );
  policy
    .command("impact")
    .description("what a change opens and closes: between workloads, nodes and the outside, per port")
    .option(
      "-f, --filename <path...>",
      "OLD and NEW: all manifests of before and all of after; with --old or --new: those that do not change",
      collect,
    )
    .option("--old <path...>", "manifests as they were", collect)
    .option("--new <path...>", "manifests as they will be", collect)
    .option("--svg <file>", "also draw it: a matrix of who reaches whom")
    .option("--json", "print JSON", false)
    .addOption(allowLockout())
    .addHelpText(
      "after",
      `
Compares every pair of pods that policies can tell apart, nodes (for a pod its own node and the others), and the outside in as many
parts as rules name prefixes, over all protocols and ports. Either side may be left out: what a policy does that is added or removed.

Examples:
  tandem policy impact -f before/ -f after/
  tandem policy impact -f pods.yaml --old policies.yaml --new policies-new.yaml
  tandem policy impact -f manifests/ --new new-policy.yaml --svg impact.svg
  git show HEAD:policies.yaml | tandem policy impact -f pods.yaml --old - --new policies.yaml
`,
    )
    .action(async (options: ImpactOptions) => (await import("./impact.ts")).impact(context, options));
}

function offlineCommand(policy: Command, usage: string, description: string): Command {
  // A list of several would swallow the argument behind it.
  const path = usage.includes(" ") ? "<path>" : "<path...>";
  return policy
    .command(usage)
    .description(description)
    .requiredOption(`-f, --filename ${path}`, "manifests: files, folders, or - for standard input", collect)
    .option("--json", "print JSON", false)
    .addOption(allowLockout());
}

function allowLockout(): Option {
  return new Option("--allow-lockout", "judge nodes as agents with the setting allowLockout do").default(false);
}

/** `-f a -f b c`: all of them. */
function collect(path: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), path];
}

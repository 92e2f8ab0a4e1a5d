/** Every setting: its type, default and meaning, in one schema that validates, documents and types. */
import { z } from "zod";
import { parsePrefix } from "../model/ip.ts";
import { readPortRange } from "./port-range.ts";

const timeouts = z
  .strictObject({
    tcpOpening: z.int().min(1).default(60),
    tcpEstablished: z.int().min(1).default(21_600),
    tcpClosing: z.int().min(1).default(10),
    udpUnreplied: z.int().min(1).default(30),
    udpReplied: z.int().min(1).default(180),
    icmp: z.int().min(1).default(60),
    other: z.int().min(1).default(600),
    service: z.int().min(1).default(21_600),
  })
  .prefault({});

export const configSchema = z.strictObject({
  nodeName: z.string().min(1).describe("this node's name, as its Node object has it"),
  source: z
    .enum(["files", "kube"])
    .default("files")
    .describe("where the cluster is known from: files: the folder of manifests; kube: the Kubernetes API"),
  manifests: z.string().default("/etc/tandem/manifests").describe("folder of Kubernetes manifests to follow"),
  kubeconfig: z
    .string()
    .nullable()
    .default(null)
    .describe("file that says how to reach the Kubernetes API; null: the service account of this pod"),
  apiServer: z
    .string()
    .nullable()
    .default(null)
    .describe(
      "URL of the Kubernetes API instead of the one that kubeconfig or the pod's environment name: who provides service addresses must not need one",
    ),
  identities: z
    .enum(["local", "cluster"])
    .default("local")
    .describe("who numbers sets of labels: local: this node; cluster: CiliumIdentity objects, which needs source kube"),
  clusterId: z
    .int()
    .min(0)
    .max(255)
    .default(0)
    .describe("of this cluster among those that are connected: upper 8 bits of the cluster's identities"),
  bpffs: z.string().default("/sys/fs/bpf/tandem").describe("bpffs folder of maps and links; mounted if it is none"),
  cgroup: z
    .string()
    .nullable()
    .default(null)
    .describe("cgroup2 folder whose processes reach services at the socket; null: per packet only"),
  stateDir: z
    .string()
    .default("/var/lib/tandem")
    .describe("folder of what must survive a reboot: endpoints, identity numbers"),
  socket: z.string().default("/run/tandem/agent.sock").describe("unix socket of the API"),
  objects: z.string().default("").describe("folder of the eBPF objects; empty: build/bpf of this package"),
  uplinks: z
    .array(z.string())
    .default(["auto"])
    .describe("devices to other nodes: names, globs, or auto (devices with a global address or a route of BGP)"),
  ipv4: z.boolean().default(true).describe("give pods IPv4 addresses"),
  ipv6: z.boolean().default(true).describe("give pods IPv6 addresses"),
  masqueradeIpv4: z
    .boolean()
    .default(false)
    .describe(
      "what pods send over IPv4 to destinations without a route of BGP or on-link leaves with this node's address; false where kube-router does it (--enable-pod-egress)",
    ),
  masqueradeIpv6: z.boolean().default(false).describe("the same over IPv6"),
  masqueradeConfig: z
    .string()
    .nullable()
    .default(null)
    .describe("file in the format of ip-masq-agent: further destinations that see pods' own addresses; null: none"),
  loadBalancerMode: z
    .enum(["snat", "dsr", "hybrid"])
    .default("snat")
    .describe(
      "how backends on other nodes answer clients outside: snat: by the node that asked them in its name; dsr: themselves, with the client's address kept; hybrid: dsr for TCP, snat for the rest",
    ),
  dsrDispatch: z
    .enum(["option", "ipip"])
    .default("option")
    .describe(
      "how what backends answer directly gets there: option: as it is, beginnings of flows with an IP option; ipip: all of it in packets of the node's own",
    ),
  externalIps: z
    .array(z.string().refine((text) => text.includes("/") && parsePrefix(text) !== null, "no CIDR"))
    .default(["0.0.0.0/0", "::/0"])
    .describe(
      "addresses that externalIPs of services may be of; empty: none; those of nodes, pods and services never are",
    ),
  nodePortRange: z
    .string()
    .refine((text) => readPortRange(text) !== null, "no range of ports")
    .default("30000-32767")
    .describe("ports of nodes that are for services, as the API server has them (--service-node-port-range)"),
  serviceSelection: z
    .enum(["random", "maglev"])
    .default("random")
    .describe(
      "what chooses a backend for clients inside where the service says nothing: random; or maglev: a table, by a hash of the client, as for clients outside",
    ),
  externalClusterIps: z
    .boolean()
    .default(false)
    .describe("clients outside may use cluster addresses of services, too, where kube-router advertises them"),
  gobgp: z
    .array(z.string().regex(/^(\[[0-9A-Fa-f:.]+\]|[^\s:/[\]]+):\d{1,5}$/, "is not host:port"))
    .min(1)
    .nullable()
    .default(["127.0.0.1:50051"])
    .describe(
      "where kube-router's BGP daemon is asked why routes are as they are (--gobgp-admin-address and -port), tried in turn; null: not at all",
    ),
  metricsAddress: z
    .string()
    .regex(/^(\[[0-9A-Fa-f:.]+\]|[^\s:/[\]]+):\d{1,5}$/, "is not host:port")
    .nullable()
    .default(null)
    .describe("where Prometheus finds /metrics, as 127.0.0.1:9962; null: nowhere"),
  networkTimeout: z
    .int()
    .min(0)
    .max(3_600)
    .default(120)
    .describe(
      "seconds after a boot for which a BGP session and the routes to other nodes' pods are waited for before the node counts as ready for pods; then it does so without; 0: nothing is waited for",
    ),
  networkRoutes: z
    .int()
    .min(0)
    .max(100)
    .default(90)
    .describe("percent of those routes that are enough, as nodes come and go all the time in a large cluster"),
  healthProbe: z
    .boolean()
    .default(true)
    .describe("ask other nodes all the time, by ICMP and TCP, whether they and the way to their pods answer"),
  healthInterval: z
    .int()
    .min(1)
    .max(300)
    .default(5)
    .describe("seconds between two questions to a node while all is well; after a missing answer they come faster"),
  healthPort: z
    .int()
    .min(0)
    .max(65_535)
    .default(4240)
    .describe("TCP port where nodes ask each other, the same on all of them; 0: ICMP alone"),
  healthActs: z
    .boolean()
    .default(false)
    .describe("backends on nodes whose pods do not answer get nothing new from this node, as long as others are left"),
  removeStaleRoutes: z
    .int()
    .min(10)
    .nullable()
    .default(null)
    .describe(
      "seconds after which a route that kube-router left to the pod CIDR of a node that is gone is removed; null: it is only told",
    ),
  advertiseServices: z
    .enum(["off", "annotated", "all"])
    .default("off")
    .describe(
      "whether service addresses are announced through kube-router's BGP daemon: annotated: of services with the annotation tandem.io/advertise; all: of all but those whose annotation says false",
    ),
  advertiseAddresses: z
    .array(z.enum(["ClusterIP", "ExternalIPs", "LoadBalancer"]))
    .default(["ExternalIPs", "LoadBalancer"])
    .describe("which kinds of a service's addresses are announced, where its annotation does not say"),
  advertiseDrainTaints: z
    .array(z.string().min(1))
    .default(["node.kubernetes.io/unschedulable"])
    .describe(
      "keys of taints of this node with which it announces no service address (kubectl cordon and drain set the default one)",
    ),
  advertiseNextHop: z
    .enum(["node", "self"])
    .default("node")
    .describe(
      "next hop of announced service addresses; node: the node's address; self: for each peer the node's end of its session, as with kube-router's --override-nexthop",
    ),
  advertiseOnStop: z
    .enum(["keep", "withdraw"])
    .default("keep")
    .describe(
      "what becomes of announced service addresses when the agent stops; keep: the datapath serves them on, and a restart disturbs nobody",
    ),
  tcMode: z.enum(["auto", "tcx", "clsact"]).default("auto").describe("how programs are attached to devices"),
  xdp: z
    .enum(["auto", "off", "native", "generic"])
    .default("auto")
    .describe(
      "XDP on uplinks for flows that come in and go out again: auto: native where the driver has it, but for veths",
    ),
  mapSizes: z.record(z.string(), z.int().min(1)).default({}).describe("entries of single maps, by name"),
  podMtu: z
    .int()
    .min(1280)
    .max(65_535)
    .nullable()
    .default(null)
    .describe("MTU of pods; null: of the smallest way to other nodes"),
  traceFlows: z.boolean().default(false).describe("report the first packet of every flow, not only verdicts and drops"),
  conntrackTimeouts: timeouts.describe("seconds without a packet after which a flow is forgotten"),
  policyEnforcement: z
    .enum(["default", "always", "never"])
    .default("default")
    .describe("default: pods that a policy selects; always: all pods; never: none"),
  policyAuditMode: z
    .boolean()
    .default(false)
    .describe("report what policies would drop and let it through; a pod may have its own: tandem endpoint config"),
  allowLockout: z
    .boolean()
    .default(false)
    .describe(
      "policies of nodes may close what the node needs to stay in its cluster: BGP, the API server, the kubelet",
    ),
  dnsMode: z
    .enum(["off", "resolve", "proxy"])
    .default("resolve")
    .describe(
      "how addresses of names in policies (toFQDNs) are known: resolve: this agent asks DNS for those that are written whole; proxy: tandem-proxy tells what pods were answered; off: not at all",
    ),
  dnsServers: z
    .array(z.string())
    .default([])
    .describe("DNS servers that the agent asks, with :port if it is not 53; empty: those of the node's resolv.conf"),
  dnsShared: z
    .boolean()
    .default(false)
    .describe(
      "with dnsMode proxy: what one pod was answered opens the addresses for all pods of the node whose policies name the name, as in Cilium; else for that pod only",
    ),
  dnsMinTtl: z
    .int()
    .min(0)
    .max(604_800)
    .default(3600)
    .describe("least seconds that an address of a name holds, whatever its answer said"),
  dnsMaxAddresses: z
    .int()
    .min(1)
    .max(16_384)
    .default(1000)
    .describe("addresses of one name that are kept; of more those go whose time is over first"),
  l7Proxy: z
    .enum(["on", "off"])
    .default("on")
    .describe("on: tandem-proxy enforces L7 rules; off: it is not let in, and ports with L7 rules are closed"),
  proxyRedirect: z
    .enum(["auto", "assign", "tproxy"])
    .default("auto")
    .describe(
      "how packets come to tandem-proxy; assign: the programs give them to its sockets; tproxy: by a table of nft; auto: assign, where the kernel has it",
    ),
  kernelFlows: z
    .enum(["auto", "copy"])
    .default("auto")
    .describe(
      "how the programs know connections that others' rules began, as kube-proxy's; auto: they ask the kernel's conntrack, where they can; copy: the agent copies them",
    ),
  cniInstall: z
    .boolean()
    .default(false)
    .describe("put tandem-cni and its configuration into the runtime's folders once the agent is ready"),
  cniBinDir: z.string().startsWith("/").default("/opt/cni/bin").describe("folder of the runtime's CNI plugins"),
  cniConfDir: z
    .string()
    .startsWith("/")
    .default("/etc/cni/net.d")
    .describe("folder of the runtime's CNI configurations"),
  cniConfName: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*\.conflist$/)
    .default("05-tandem.conflist")
    .describe("file name of the configuration, ending in .conflist; runtimes take the first by name"),
  cniVersion: z
    .enum(["0.4.0", "1.0.0", "1.1.0"])
    .default("1.0.0")
    .describe(
      "version of the CNI specification in the configuration; STATUS and GC need 1.1.0 and a runtime that knows it",
    ),
  cniChained: z
    .array(z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/))
    .default(["portmap"])
    .describe("plugins called after tandem-cni, where they are in cniBinDir; portmap does the hostPort of containers"),
  logLevel: z.enum(["debug", "info", "warn", "error"]).default("info").describe("least level that is logged"),
});

export type AgentConfig = Readonly<z.infer<typeof configSchema>>;
export type SettingName = keyof AgentConfig;

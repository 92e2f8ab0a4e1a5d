/** Everything that Cilium's API refuses: each with the code, the path of the field and the remedy; and all of them at once. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { parse } from "yaml";
import { parsePolicy } from "../../../../src/compute/policy/parse.ts";
import { policy } from "../support.ts";

/** A spec that is refused. */
interface Row {
  readonly what: string;
  /** Of a CiliumClusterwideNetworkPolicy. */
  readonly clusterwide?: boolean;
  readonly spec: object;
  readonly code: string;
  readonly field: string;
  readonly remedy: string;
}

const folder = join(import.meta.dirname, "rejections");
const files = readdirSync(folder).sort();
const tcp80 = { port: "80", protocol: "TCP" };
const rule = (ingress: object) => ({ endpointSelector: {}, ingress: [ingress] });
const letters = "a".repeat(256);

/** What would be too long to read in a table. */
const tooMuch: readonly Row[] = [
  {
    what: "41 ports",
    spec: rule({ toPorts: [{ ports: Array.from({ length: 41 }, () => tcp80) }] }),
    code: "POLICY_TOO_MANY",
    field: "spec.ingress[0].toPorts[0].ports",
    remedy: "use a range of ports, or more entries of the list around",
  },
  {
    what: "41 ICMP types",
    spec: rule({ icmps: [{ fields: Array.from({ length: 41 }, (_, type) => ({ type })) }] }),
    code: "POLICY_TOO_MANY",
    field: "spec.ingress[0].icmps[0].fields",
    remedy: "use a range of ports, or more entries of the list around",
  },
  {
    what: "a name of 256 letters",
    spec: { endpointSelector: {}, egress: [{ toFQDNs: [{ matchName: letters }] }] },
    code: "POLICY_NAME",
    field: "spec.egress[0].toFQDNs[0].matchName",
    remedy: "up to 255 letters, digits, - _ .",
  },
  {
    what: "a Kafka topic of 256 letters",
    spec: rule({ toPorts: [{ ports: [tcp80], rules: { kafka: [{ topic: letters }] } }] }),
    code: "POLICY_KAFKA",
    field: "spec.ingress[0].toPorts[0].rules.kafka[0].topic",
    remedy: "up to 255 letters, digits, . _ -",
  },
];

const peers = {
  Endpoints: [{}],
  CIDR: ["10.0.0.0/8"],
  CIDRSet: [{ cidr: "10.0.0.0/8" }],
  Entities: ["world"],
  Nodes: [{}],
  Services: [{ k8sService: { serviceName: "a" } }],
  FQDNs: [{ matchName: "a.b" }],
} as const;

/** Peers of two kinds never meet in one rule, allowing or denying. */
function* combinations(): Generator<Row> {
  for (const section of ["ingress", "ingressDeny", "egress", "egressDeny"]) {
    const side = section.startsWith("ingress") ? "from" : "to";
    const names = Object.keys(peers).filter((name) => {
      if (name === "Services") return side === "to";
      return name !== "FQDNs" || section === "egress";
    }) as (keyof typeof peers)[];
    for (const [at, one] of names.entries()) {
      for (const other of names.slice(at + 1)) {
        yield {
          what: `${side}${one} beside ${side}${other} in ${section}`,
          spec: {
            endpointSelector: {},
            [section]: [{ [`${side}${one}`]: peers[one], [`${side}${other}`]: peers[other] }],
          },
          code: "POLICY_COMBINED",
          field: `spec.${section}[0]`,
          remedy: "write a rule for each: rules add up",
        };
      }
    }
  }
}

const tables = new Map<string, readonly Row[]>([
  ...files.map((file): [string, readonly Row[]] => [file, parse(readFileSync(join(folder, file), "utf8")) as Row[]]),
  ["too much", tooMuch],
  ["combinations", [...combinations()]],
]);
const rows = [...tables.values()].flat();
const kindOf = ({ clusterwide }: Row) =>
  clusterwide === true ? "CiliumClusterwideNetworkPolicy" : "CiliumNetworkPolicy";

for (const [name, table] of tables) {
  for (const row of table) {
    test(`${name}: ${row.what} is refused, and nothing else is said`, (t) => {
      const { valid, specs, problems } = parsePolicy(policy(kindOf(row), row.spec));
      const errors = problems.filter(({ severity }) => severity === "error");
      t.deepEqual(
        errors.map(({ code, field, remedy }) => ({ code, field, remedy })),
        [{ code: row.code, field: row.field, remedy: row.remedy }],
      );
      t.not(errors[0]?.message, "");
      t.false(valid);
      t.deepEqual(specs, [], "it does not apply at all");
    });
  }
}

test("there is a row for everything", (t) => {
  t.deepEqual(files, ["l7.yaml", "peers.yaml", "ports.yaml", "selectors.yaml"]);
  t.true([...tables.values()].every((table) => table.length > 0));
});

for (const clusterwide of [false, true]) {
  test(`all problems of a ${clusterwide ? "clusterwide policy" : "policy"} come at once, whatever they are`, (t) => {
    const specs = rows.filter((row) => (row.clusterwide ?? false) === clusterwide);
    const kind = clusterwide ? "CiliumClusterwideNetworkPolicy" : "CiliumNetworkPolicy";
    const { valid, problems } = parsePolicy({ ...policy(kind, undefined), specs: specs.map(({ spec }) => spec) });
    const errors = problems.filter(({ severity }) => severity === "error");
    t.false(valid);
    t.deepEqual(
      errors.map(({ code, field }) => `${code} ${field}`),
      specs.map(({ code, field }, at) => `${code} ${field.replace(/^spec/, `specs[${at}]`)}`),
    );
  });
}

/** What some versions of Cilium refuse and others take: it is taken, and means what the latter say. */
const accepted: readonly (readonly [string, object])[] = [
  ["a spec without a rule", { endpointSelector: {} }],
  ["CIDRs with ports at ingress", rule({ fromCIDR: ["10.0.0.0/8"], toPorts: [{ ports: [tcp80] }] })],
  [
    "services with ports",
    { endpointSelector: {}, egress: [{ toServices: peers.Services, toPorts: [{ ports: [tcp80] }] }] },
  ],
  ["an address without a length in fromCIDR", rule({ fromCIDR: ["10.1.2.3"] })],
  ["host bits in a CIDR", rule({ fromCIDRSet: [{ cidr: "10.1.2.3/8" }] })],
  ["required labels", rule({ fromEndpoints: [{}], fromRequires: [{ matchLabels: { a: "b" } }] })],
  [
    "DNS rules on another port than 53",
    {
      endpointSelector: {},
      egress: [{ toPorts: [{ ports: [{ port: "5353", protocol: "ANY" }], rules: { dns: [{ matchPattern: "*" }] } }] }],
    },
  ],
  [
    "server names beside HTTP rules where TLS ends",
    rule({
      toPorts: [
        { ports: [tcp80], serverNames: ["a.b"], terminatingTLS: { secret: { name: "s" } }, rules: { http: [{}] } },
      ],
    }),
  ],
];

for (const [what, spec] of accepted) {
  test(`${what}: taken, as some versions do`, (t) => {
    const { valid, problems } = parsePolicy(policy("CiliumNetworkPolicy", spec));
    t.deepEqual(
      problems.filter(({ severity }) => severity === "error"),
      [],
    );
    t.true(valid);
  });
}

test("DNS rules of nodes are taken, and of ports that are TCP and SCTP", (t) => {
  const egress = (...ports: readonly object[]) => [{ toPorts: [{ ports, rules: { dns: [{ matchName: "a.b" }] } }] }];
  const nodes = { nodeSelector: {}, egress: egress({ port: "53", protocol: "UDP" }) };
  t.true(parsePolicy(policy("CiliumClusterwideNetworkPolicy", nodes)).valid);
  const both = { endpointSelector: {}, egress: egress({ port: "53" }, { port: "53", protocol: "SCTP" }) };
  t.true(parsePolicy(policy("CiliumNetworkPolicy", both)).valid);
});

/** Pods of labs, for tests and for benchmarks, which run without AVA. */
import type { Lab } from "../../src/lab/lab.ts";

/** A pod object with the given labels; ports get the lab's small server unless there is a command. */
export function pod(
  name: string,
  options: {
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly node?: string;
    readonly ports?: readonly (
      | number
      | { readonly name?: string; readonly containerPort: number; readonly protocol: "TCP" | "UDP" }
    )[];
    readonly command?: readonly string[];
    readonly hostNetwork?: boolean;
    /** Types of conditions that it waits for before it is ready. */
    readonly readinessGates?: readonly string[];
    /** Addresses that it asks for. */
    readonly addresses?: readonly string[];
  } = {},
): { readonly metadata: Readonly<Record<string, unknown>>; readonly [field: string]: unknown } {
  const { namespace = "default", labels = { app: name }, node, ports = [8080], command, hostNetwork } = options;
  const { annotations } = options;
  const readinessGates = options.readinessGates?.map((conditionType) => ({ conditionType }));
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace, labels, ...(annotations && { annotations }) },
    spec: {
      ...(node && { nodeName: node }),
      ...(hostNetwork && { hostNetwork }),
      ...(readinessGates && { readinessGates }),
      containers: [
        {
          name: "main",
          image: "lab",
          ...(command && { command }),
          ports: ports.map((port) => (typeof port === "number" ? { containerPort: port } : port)),
        },
      ],
    },
    ...(options.addresses && { status: { podIPs: options.addresses.map((ip) => ({ ip })) } }),
  };
}

/** The pod's address of that family. */
export async function podAddress(lab: Lab, name: string, family: 4 | 6 = 4): Promise<string> {
  const { pods } = await lab.status();
  const found = pods
    .find((p) => `${p.namespace}/${p.name}` === name)
    ?.addresses.find((address) => address.includes(":") === (family === 6));
  if (found === undefined) throw new Error(`pod ${name} has no IPv${family} address`);
  return found;
}

/** The network configuration list that the runtime reads: tandem-cni first, which makes the pod's interface, then what adjusts it. */

export interface ConflistOptions {
  readonly cniVersion: string;
  readonly socket: string;
  readonly stateDir: string;
  /** Types of the plugins that are called after tandem-cni, in this order. */
  readonly chained: readonly string[];
}

/** What a plugin needs from the runtime, which passes only what the list asks for (CNI conventions, "capabilities"). */
const capabilities: ReadonlyMap<string, Readonly<Record<string, true>>> = new Map([
  ["portmap", { portMappings: true }],
  ["bandwidth", { bandwidth: true }],
]);

/** The text of the file, the same for the same options. */
export function conflistText({ cniVersion, socket, stateDir, chained }: ConflistOptions): string {
  const plugins = [
    { type: "tandem-cni", socket, stateDir },
    ...chained.map((type) => {
      const needed = capabilities.get(type);
      return { type, ...(needed !== undefined && { capabilities: needed }) };
    }),
  ];
  return `${JSON.stringify({ cniVersion, name: "tandem", plugins }, null, 2)}\n`;
}

/**
 * What gobgpd lets out of what this agent announces: kube-router's export policy lets out what kube-router knows, and nothing else. A policy of our own
 * stands behind it, with a set of prefixes for each family (decisions/0013); kube-router's sets and policies stay as they are. Both last as long as
 * gobgpd does.
 */
import type { Prefix } from "../../model/ip.ts";
import type { GobgpClient } from "../../sources/gobgp/client.ts";
import { exportPolicy, exportSets } from "../../sources/gobgp/export-policy.ts";

type PolicyClient = Pick<GobgpClient, "definedSets" | "policies" | "addExportPolicy" | "changeSet">;

export class ExportSet {
  readonly #client: PolicyClient;
  /** Texts of what each set has. */
  #members = new Map<4 | 6, Set<string>>();
  #isInForce = false;
  /** Of those that were asked for since it has been in force. */
  readonly #letOut = new Set<string>();

  constructor(client: PolicyClient) {
    this.#client = client;
  }

  async read(signal: AbortSignal): Promise<void> {
    const sets = await this.#client.definedSets("prefix", signal);
    const assigned = await this.#client.policies("export", signal);
    this.#isInForce = assigned.some(({ policies }) => policies.some(({ name }) => name === exportPolicy));
    this.#members = new Map();
    for (const family of [4, 6] as const) {
      const set = sets.find(({ name }) => name === exportSets[family]);
      this.#members.set(family, new Set(set?.prefixes.map(({ prefix }) => prefix)));
      this.#isInForce = this.#isInForce && set !== undefined;
    }
  }

  /** @returns whether a path that is there may not have been let out, as policies are asked when a path comes: it is to be announced again */
  async add(prefix: Prefix, signal: AbortSignal): Promise<boolean> {
    if (!this.#isInForce) {
      await this.#client.addExportPolicy(signal);
      this.#isInForce = true;
      this.#letOut.clear();
    }
    const members = this.#members.get(prefix.family);
    // What is put into a set twice is there twice.
    if (members?.has(prefix.text) === false) {
      await this.#client.changeSet("add", exportSets[prefix.family], [prefix], signal);
      members.add(prefix.text);
      this.#letOut.delete(prefix.text);
    }
    const isNew = !this.#letOut.has(prefix.text);
    this.#letOut.add(prefix.text);
    return isNew;
  }

  /** Of a path that is withdrawn: before, gobgpd would take it for one that was never told, and send no withdrawal. */
  async remove(prefix: Prefix, signal: AbortSignal): Promise<void> {
    const members = this.#members.get(prefix.family);
    if (members?.has(prefix.text) !== true) return;
    await this.#client.changeSet("remove", exportSets[prefix.family], [prefix], signal);
    members.delete(prefix.text);
    this.#letOut.delete(prefix.text);
  }
}

/** Waiting until every agent of a lab has put what the manifests say into the kernel. */
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { PolicyDto, StatusDto } from "../../api/dto.ts";
import { agentGet } from "../agents.ts";
import { LabError } from "../errors.ts";
import { writeAtomically } from "../files.ts";
import type { LabPlan, NodePlan } from "../plan.ts";

const timeoutMs = 60_000;
const pollMs = 5;
/** ms that an agent may leave a file which is new under its name for a later look at the folder. */
const deferredMs = 20;

/**
 * A policy without effect, written last and under a new name each time: an agent that knows it has looked at the folder since.
 * Then the revision of its facts has to reach the kernel.
 */
export class Barrier {
  readonly #lab: LabPlan;
  /** What another barrier of the same lab left behind is not taken for this one's. */
  readonly #token = randomUUID().slice(0, 8);
  #number = 0;

  constructor(lab: LabPlan) {
    this.#lab = lab;
  }

  /**
   * Twice: the look at the folder that finds the first one may have seen the files before it as they were, or have left one that is
   * new under its name for later. The look that finds the second one began after all of them.
   *
   * @throws LabError LAB_SETTLE naming the node that did not follow within a minute
   */
  async pass(): Promise<void> {
    await this.#passOnce();
    await sleep(deferredMs);
    await this.#passOnce();
  }

  async #passOnce(): Promise<void> {
    const name = `barrier-${this.#token}-${++this.#number}`;
    const object = {
      apiVersion: "cilium.io/v2",
      kind: "CiliumNetworkPolicy",
      metadata: { name, namespace: "tandem-lab-barrier" },
      spec: { endpointSelector: {}, ingress: [{}] },
    };
    await writeAtomically(join(this.#lab.manifests, "barrier.json"), JSON.stringify(object));
    const deadline = Date.now() + timeoutMs;
    await Promise.all(
      this.#lab.nodes.map(async (node) => {
        await untilRead(node, name, deadline);
        await untilApplied(node, deadline);
      }),
    );
  }

  /** As `pass`, of what the agents know already. */
  async settle(): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    await Promise.all(this.#lab.nodes.map((node) => untilApplied(node, deadline)));
  }
}

const late = (node: NodePlan, what: string) =>
  new LabError("LAB_SETTLE", node.name, what, `read ${node.folder}/agent.log`);

async function untilRead(node: NodePlan, name: string, deadline: number): Promise<void> {
  for (;;) {
    const policies = (await agentGet(node, "/v1/policies")) as readonly PolicyDto[];
    if (policies.some((policy) => policy.name === name)) return;
    if (Date.now() > deadline) throw late(node, `has not read the manifests within ${timeoutMs} ms`);
    await sleep(pollMs);
  }
}

/** What is known now is in the kernel. */
async function untilApplied(node: NodePlan, deadline: number): Promise<void> {
  let facts: number | null = null;
  for (;;) {
    const { revision } = (await agentGet(node, "/v1/status")) as StatusDto;
    facts ??= revision.facts;
    if (revision.applied >= facts) return;
    if (Date.now() > deadline) {
      throw late(node, `revision ${facts} is not in the kernel, which has ${revision.applied}`);
    }
    await sleep(pollMs);
  }
}

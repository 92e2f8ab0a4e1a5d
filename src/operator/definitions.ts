/**
 * The definitions of the kinds that Tandem works with. What is missing is installed, what Tandem installed is brought up to date, never back. A definition
 * of somebody else, as of a Cilium installation, is used as it is: what it would drop of Tandem's objects is told and left to people.
 */
import { messageOf } from "../lib/errors.ts";
import { customKinds, customResourceDefinition } from "../kube-objects/index.ts";
import { isRecord, isStatus, type KubeClient, kinds, type KubeObject } from "../kube/index.ts";
import type { Logger } from "../model/logging.ts";
import type { ConditionSink, Problem } from "../model/status.ts";
import { missingFields } from "./definition-fields.ts";
import type { Term } from "./term.ts";

const ownerLabel = "app.kubernetes.io/part-of";
const owner = "tandem";
/** Fields that one message names. */
const named = 10;

export interface DefinitionsOptions {
  readonly client: Pick<KubeClient, "get" | "create" | "update">;
  readonly conditions: ConditionSink;
  readonly log: Logger;
}

export class Definitions {
  readonly #options: DefinitionsOptions;

  constructor(options: DefinitionsOptions) {
    this.#options = options;
  }

  /** Looks at all of them once. @throws what the client throws, when each was tried */
  async round(term: Term): Promise<void> {
    const problems: Problem[] = [];
    let failure: unknown = null;
    for (const kind of customKinds) {
      const wanted = customResourceDefinition(kind) as KubeObject;
      try {
        problems.push(...(await this.#settle(wanted, term)));
      } catch (error) {
        if (term.signal.aborted) return;
        failure ??= error;
        problems.push(notInstalled(wanted, error));
      }
    }
    this.#options.conditions.report("definitions", problems);
    if (failure !== null) throw failure;
  }

  async #settle(wanted: KubeObject, term: Term): Promise<readonly Problem[]> {
    const { client, log } = this.#options;
    const { signal } = term;
    const kind = kinds.customResourceDefinitions;
    const { name } = wanted.metadata;
    const found = await client.get(kind, { name }, { signal }).catch((error: unknown) => {
      if (isStatus(error, 404)) return null;
      throw error;
    });
    if (found !== null && found.metadata.labels?.[ownerLabel] !== owner) return foreign(wanted, found);
    if (found !== null && (holds(found.spec, wanted.spec) || isNewer(found.spec, wanted.spec))) return [];
    if (!term.held()) return [];
    try {
      if (found === null) await client.create(kind, wanted, { signal });
      else await client.update(kind, { ...found, spec: wanted.spec }, { signal });
    } catch (error) {
      // Somebody else installed or changed it at the same moment: it is looked at again in the next round.
      if (isStatus(error, 409)) return [];
      throw error;
    }
    log.info({ definition: name }, found === null ? "installed" : "brought up to date");
    return [];
  }
}

/** Whether a stored value says all that a wanted one does; what the server adds is no difference. */
function holds(found: unknown, wanted: unknown): boolean {
  if (Array.isArray(wanted)) {
    return Array.isArray(found) && found.length === wanted.length && wanted.every((each, at) => holds(found[at], each));
  }
  if (!isRecord(wanted)) return found === wanted;
  // Fields with an empty value are left out by the server.
  return Object.entries(wanted).every(([key, value]) => isRecord(found) && holds(found[key], value));
}

/**
 * Of a release after this one, whose operator was here first: to replace it by ours would take fields out of the policies that have them, and an
 * operator that goes back, or two of different releases in the middle of an upgrade, must not.
 */
function isNewer(found: unknown, wanted: unknown): boolean {
  return missingFields(found, wanted).length === 0 && missingFields(wanted, found).length > 0;
}

function foreign(wanted: KubeObject, found: KubeObject): readonly Problem[] {
  const missing = missingFields(found.spec, wanted.spec);
  if (missing.length === 0) return [];
  const more = missing.length > named ? ` and ${missing.length - named} more` : "";
  return [
    {
      code: "CRD_DIFFERS",
      severity: "warning",
      object: `CustomResourceDefinition ${wanted.metadata.name}`,
      field: missing.slice(0, named).join(", "),
      message: `it was not installed by Tandem and lacks what Tandem writes or reads: ${missing.slice(0, named).join(", ")}${more}`,
      remedy: `it is used as it is; to let Tandem replace it, label it ${ownerLabel}=${owner} when nothing else needs it`,
    },
  ];
}

function notInstalled({ metadata }: KubeObject, error: unknown): Problem {
  return {
    code: "CRD_NOT_INSTALLED",
    severity: "error",
    object: `CustomResourceDefinition ${metadata.name}`,
    field: "",
    message: `whether it is as it should be is not known: ${messageOf(error)}`,
    remedy:
      "it is tried again; see that the operator may read and write CustomResourceDefinitions, or apply manifests/crds",
  };
}

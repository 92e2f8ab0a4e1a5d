/** The objects of cilium.io that the tests have: those of the conformance cases, and the specs that the reader refuses. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse, parseAllDocuments } from "yaml";
import type { KubeObject } from "../../src/kube/index.ts";

const cases = join(import.meta.dirname, "../conformance/cases");
const rejections = join(import.meta.dirname, "../unit/compute/policy/rejections");

/** Every object of cilium.io of the conformance cases, with the name of its case. */
export function conformanceObjects(): readonly (readonly [string, KubeObject])[] {
  return readdirSync(cases).flatMap((name) =>
    parseAllDocuments(readFileSync(join(cases, name, "policies.yaml"), "utf8")).flatMap(
      (document): [string, KubeObject][] => {
        const object = document.toJS() as KubeObject | null;
        return object?.apiVersion?.startsWith("cilium.io/") === true ? [[name, object]] : [];
      },
    ),
  );
}

/** A spec that the reader of policies refuses. */
export interface RefusedSpec {
  readonly what: string;
  readonly clusterwide?: boolean;
  readonly spec: object;
  readonly code: string;
}

export function refusedSpecs(): readonly RefusedSpec[] {
  return readdirSync(rejections).flatMap(
    (file) => parse(readFileSync(join(rejections, file), "utf8")) as RefusedSpec[],
  );
}

/** The spec as an object of its kind; namespaced ones in `shop`. */
export function refusedObject({ clusterwide, spec }: RefusedSpec): KubeObject {
  return clusterwide === true
    ? { apiVersion: "cilium.io/v2", kind: "CiliumClusterwideNetworkPolicy", metadata: { name: "a" }, spec }
    : { apiVersion: "cilium.io/v2", kind: "CiliumNetworkPolicy", metadata: { name: "a", namespace: "shop" }, spec };
}

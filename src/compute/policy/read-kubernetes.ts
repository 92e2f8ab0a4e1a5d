/** NetworkPolicy (networking.k8s.io/v1), whole. */
import { makeSelector, requirement, type Selector } from "../../model/labels.ts";
import { namespaceKey, namespaceLabelPrefix } from "../identity/labels.ts";
import { at, type Fields, type Place, readEach, readFields, readText, refuse, shown } from "./fields.ts";
import { type KeyReading, plainKeys, readSelector } from "./read-selector.ts";
import { checkPort, isPortName, readBlock, readEndPort, readProtocol, unknownWord } from "./read-values.ts";
import type { Direction, Peer, Port, Rule, Spec } from "./rules.ts";

const namespaceKeys: KeyReading = { pattern: "kubernetes", translate: (key) => namespaceLabelPrefix + key };

/** @param object "NetworkPolicy shop/db", for the origins of rules */
export function readNetworkPolicy(value: unknown, place: Place, namespace: string, object: string): Spec | null {
  const fields = readFields(value, place, ["podSelector", "policyTypes", "ingress", "egress"]);
  if (fields === null) {
    if (value === undefined || value === null) {
      refuse(place, "POLICY_MISSING", "the policy has no spec", "write spec with podSelector and rules");
    }
    return null;
  }
  const subject = readSelector(fields.podSelector, at(place, "podSelector"), plainKeys) ?? makeSelector([]);
  const types = readEach(fields.policyTypes, at(place, "policyTypes"), readPolicyType);
  const egress = readRules(fields.egress, at(place, "egress"), "egress", namespace, object);
  const ingress = readRules(fields.ingress, at(place, "ingress"), "ingress", namespace, object);
  const isolates =
    types === null || types.length === 0
      ? { ingress: true, egress: egress.length > 0 }
      : { ingress: types.includes("Ingress"), egress: types.includes("Egress") };
  return {
    subject: inNamespace(subject, namespace),
    isolates,
    rules: [...(isolates.ingress ? ingress : []), ...(isolates.egress ? egress : [])],
    requires: [],
  };
}

function inNamespace(selector: Selector, namespace: string): Selector {
  return makeSelector([...selector.requirements, requirement(namespaceKey, "In", [namespace])]);
}

function readPolicyType(value: unknown, place: Place): "Ingress" | "Egress" | null {
  if (value === "Ingress" || value === "Egress") return value;
  unknownWord(place, "POLICY_TYPES", String(value), "a policy type", ["Ingress", "Egress"]);
  return null;
}

function readRules(
  value: unknown,
  place: Place,
  direction: Direction,
  namespace: string,
  object: string,
): readonly Rule[] {
  const peersField = direction === "ingress" ? "from" : "to";
  let index = 0;
  const rules = readEach(value, place, (entry, entryPlace): Rule | null => {
    const origin = `${object} ${direction}[${index++}]`;
    // An entry without fields may come as null from YAML's "- "; Kubernetes takes it for {}.
    const fields = readFields(entry ?? {}, entryPlace, [peersField, "ports"]);
    if (fields === null) return null;
    const peers = readEach(fields[peersField], at(entryPlace, peersField), (peer, peerPlace) =>
      readPeer(peer, peerPlace, namespace),
    );
    const ports = readEach(fields.ports, at(entryPlace, "ports"), readPort);
    return {
      direction,
      action: "allow",
      peers: isEmpty(fields[peersField]) || peers === null ? [{ kind: "any" }] : peers,
      ports: isEmpty(fields.ports) || ports === null ? [{ kind: "everything" }] : ports,
      l7: "",
      origin,
    };
  });
  return rules ?? [];
}

/** Asked of what was written, so that a list whose entries were all refused is not taken for "everything". */
function isEmpty(value: unknown): boolean {
  return value === undefined || value === null || (Array.isArray(value) && value.length === 0);
}

function readPeer(value: unknown, place: Place, namespace: string): Peer | null {
  const fields = readFields(value, place, ["podSelector", "namespaceSelector", "ipBlock"]);
  if (fields === null || Object.values(fields).every((each) => each === undefined || each === null)) {
    refuse(place, "POLICY_MISSING", "the peer says nothing", "write podSelector, namespaceSelector or ipBlock");
    return null;
  }
  const pods = readSelector(fields.podSelector, at(place, "podSelector"), plainKeys);
  const namespaces = readSelector(fields.namespaceSelector, at(place, "namespaceSelector"), namespaceKeys);
  if (fields.ipBlock !== undefined && fields.ipBlock !== null) {
    if (pods !== null || namespaces !== null) {
      refuse(place, "POLICY_COMBINED", "ipBlock and a selector in one peer", "write two entries of the list");
    }
    return readIpBlock(fields.ipBlock, at(place, "ipBlock"));
  }
  const selector =
    namespaces === null
      ? inNamespace(pods ?? makeSelector([]), namespace)
      : makeSelector([...namespaces.requirements, ...(pods?.requirements ?? [])]);
  return { kind: "pods", selector, narrowed: false };
}

function readIpBlock(value: unknown, place: Place): Peer | null {
  const fields: Fields | null = readFields(value, place, ["cidr", "except"]);
  if (fields === null) return null;
  const block = readBlock(fields.cidr, fields.except, place, false);
  return block === null ? null : { kind: "block", block };
}

function readPort(value: unknown, place: Place): Port | null {
  const fields = readFields(value ?? {}, place, ["port", "endPort", "protocol"]);
  if (fields === null) return null;
  const protocol = readProtocol(fields.protocol, at(place, "protocol"));
  const written = fields.port;
  if (typeof written === "number") {
    const first = checkPort(written, at(place, "port"), 1) ? written : null;
    if (first === null) return null;
    const last = readEndPort(fields.endPort, at(place, "endPort"), first);
    return protocol === null || last === null ? null : { kind: "range", protocol, first, last };
  }
  const name = readText(written, at(place, "port"));
  readEndPort(fields.endPort, at(place, "endPort"), null);
  if (name === null) return protocol === null ? null : { kind: "range", protocol, first: 0, last: 65_535 };
  if (!isPortName(name)) {
    const remedy = "write a number without quotes, or a name of up to 15 small letters, digits and hyphens";
    refuse(at(place, "port"), "POLICY_PORT_NAME", `${shown(name)} is not a port`, remedy);
    return null;
  }
  return protocol === null ? null : { kind: "named", protocol, name };
}

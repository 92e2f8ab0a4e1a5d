/** What is said where addresses are claimed by more than one, or lead nowhere. */
import type { Address } from "../../model/ip.ts";
import { compareText } from "../../model/labels.ts";
import type { Problem } from "../../model/status.ts";

export function nodeAddressInUse(node: string, address: Address, holder: string): Problem {
  return {
    code: "NODE_ADDRESS_IN_USE",
    severity: "error",
    object: `Node ${node}`,
    field: "status.addresses",
    message: `${address.text} is an address of Node ${holder} too, which keeps it`,
    remedy: "correct the addresses of one of both",
  };
}

/** @param holder "Pod shop/web", "Node n1" */
export function podAddressInUse(pod: string, address: Address, holder: string): Problem {
  return {
    code: "POD_ADDRESS_IN_USE",
    severity: "error",
    object: `Pod ${pod}`,
    field: "status.podIPs",
    message: `${address.text} is an address of ${holder} too, which keeps it: traffic is judged as that one's`,
    remedy: "create the pod anew, so that it gets an address of its own",
  };
}

export function localAddressInUse(device: string, address: Address, holder: string): Problem {
  return {
    code: "LOCAL_ADDRESS_IN_USE",
    severity: "warning",
    object: `device ${device}`,
    field: address.text,
    message: `${address.text} is on this node and is ${holder}'s, which keeps it: traffic is judged as that one's`,
    remedy: `remove the address from ${device}, or correct what says that it is ${holder}'s`,
  };
}

/** @param given what the CNI gave to the pod */
export function podAddressDiffers(pod: string, address: Address, given: Iterable<string>): Problem {
  return {
    code: "POD_ADDRESS_DIFFERS",
    severity: "warning",
    object: `Pod ${pod}`,
    field: "status.podIPs",
    message: `${address.text} is not what the pod was given on this node (${[...given].sort(compareText).join(", ")})`,
    remedy: "correct the status, or create the pod anew",
  };
}

export function podAddressOutside(pod: string, address: Address): Problem {
  return {
    code: "POD_ADDRESS_OUTSIDE",
    severity: "warning",
    object: `Pod ${pod}`,
    field: "status.podIPs",
    message: `${address.text} is in no node's pod CIDR, so no route may lead to it`,
    remedy: "give the pod an address of its node's pod CIDRs, or add the CIDR to the node",
  };
}

import test from "ava";
import { parseAddress } from "../../../src/model/ip.ts";
import { namesOf } from "../../../src/observe/names.ts";

function address(text: string) {
  const parsed = parseAddress(text);
  if (parsed === null) throw new Error(text);
  return parsed;
}

test("an address that only this node's devices have is the node; a Node object or a service says it better", (t) => {
  const local = (text: string) => [text, { address: address(text), device: "br0" }] as const;
  const vip = address("10.96.0.10");
  const nameOf = namesOf({
    pods: new Map(),
    nodes: new Map([["n2", { name: "n2", labels: {}, addresses: [address("192.168.0.2")], podCidrs: [] }]]),
    services: new Map([
      [
        "kube-system/dns",
        {
          namespace: "kube-system",
          name: "dns",
          type: "ClusterIP",
          clusterIps: [vip],
          externalIps: [],
          loadBalancerIps: [],
          ports: [],
          selector: null,
          affinitySeconds: null,
          publishNotReady: false,
          internalTrafficPolicy: "Cluster",
          externalTrafficPolicy: "Cluster",
          healthCheckNodePort: null,
          sourceRanges: null,
          labels: {},
        },
      ],
    ]),
    localAddresses: new Map([local("172.17.0.1"), local("192.168.0.2"), local("10.96.0.10")]),
    nodeName: "n1",
  });
  t.is(nameOf(address("172.17.0.1")), "node/n1");
  t.is(nameOf(address("192.168.0.2")), "node/n2");
  t.is(nameOf(vip), "service kube-system/dns");
  t.is(nameOf(address("8.8.8.8")), "");
});

import test from "ava";
import type { EndpointState } from "../../../src/model/endpoint-state.ts";
import { CiliumEndpoints } from "../../../src/publish/cilium-endpoints.ts";
import { address, Bench, pod, policy } from "../compute/support.ts";

const uid = { uid: "uid-1" };

test("a pod of this node is told with its numbers, labels, addresses and owner; as long as nothing changes it is the same object", (t) => {
  const bench = new Bench()
    .local(
      pod("web", {
        ...uid,
        serviceAccount: "runner",
        addresses: [address("10.1.1.2"), address("fd00:1:1::2")],
        ports: [
          { name: "http", port: 8080, protocol: "TCP" },
          { name: null, port: 9090, protocol: "TCP" },
        ],
      }),
    )
    .pods(pod("elsewhere", { node: "n2", uid: "uid-2", addresses: [address("10.1.2.2")] }));
  const endpoints = new CiliumEndpoints("n1");
  const result = bench.compute();
  const told = endpoints.of(result, bench.store.snapshot(), () => "ready");
  t.deepEqual([...told.keys()], ["shop/web"]);
  const identity = result.identityOfPod.get("shop/web") ?? 0;
  t.deepEqual(told.get("shop/web"), {
    metadata: {
      name: "web",
      namespace: "shop",
      ownerReferences: [{ apiVersion: "v1", kind: "Pod", name: "web", uid: "uid-1" }],
    },
    status: {
      id: 1,
      "external-identifiers": {
        "container-id": result.desired.endpoints[0]?.row.containerId,
        "k8s-namespace": "shop",
        "k8s-pod-name": "web",
        "pod-name": "shop/web",
      },
      identity: { id: identity, labels: result.identities.find(({ id }) => id === identity)?.labels },
      networking: { addressing: [{ ipv4: "10.1.1.2", ipv6: "fd00:1:1::2" }], node: "192.168.0.1" },
      state: "ready",
      "named-ports": [{ name: "http", port: 8080, protocol: "TCP" }],
      "service-account": "runner",
    },
  });

  bench.policies(policy("NetworkPolicy", { podSelector: {} }));
  t.is(endpoints.of(bench.compute(), bench.store.snapshot(), () => "ready").get("shop/web"), told.get("shop/web"));
  bench.pods(pod("web", { ...uid, labels: { app: "other" }, addresses: [address("10.1.1.2")] }));
  t.not(endpoints.of(bench.compute(), bench.store.snapshot(), () => "ready").get("shop/web"), told.get("shop/web"));
});

test("how far an endpoint is, is told anew when it changes", (t) => {
  const bench = new Bench().local(pod("web", { ...uid, addresses: [address("10.1.1.2")] }));
  const endpoints = new CiliumEndpoints("n1");
  const told = (state: EndpointState) =>
    endpoints.of(bench.compute(), bench.store.snapshot(), () => state).get("shop/web");
  const [before, same, after] = [told("not-ready"), told("not-ready"), told("ready")];
  t.like(before, { status: { state: "not-ready" } });
  t.is(before, same);
  t.like(after, { status: { state: "ready" } });
});

test("an endpoint without its Pod object, or of another pod of that name, is not told of", (t) => {
  const bench = new Bench()
    .endpoint(pod("unknown", { addresses: [address("10.1.1.2")] }))
    .pods(pod("anew", { uid: "uid-2" }))
    .endpoint(pod("anew", { addresses: [address("10.1.1.3")] }), uid);
  t.deepEqual([...new CiliumEndpoints("n1").of(bench.compute(), bench.store.snapshot(), () => "ready").keys()], []);
});

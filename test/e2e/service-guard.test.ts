/** Nobody takes the traffic of others by naming their address in a Service, and its owner is told on the Service itself. */
import test from "ava";
import { connectKube, kinds } from "../../src/kube/index.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { labApiServer } from "../support/api-server-process.ts";
import { agentStatus, answererOf, pod, podAddress, withLab } from "../support/lab.ts";

const longMs = 120_000;

test("an externalIP that is a pod's is refused: the pod answers itself, and the Service has an Event by one node", async (t) => {
  const objects = ["victim", "thief", "client"].map((name) =>
    pod(name, { node: "node-1", labels: { app: name }, ports: [8080] }),
  );
  await withLab(t, { nodes: 2, api: labApiServer, objects }, async (lab) => {
    const client = connectKube({
      kubeconfig: `${lab.plan.folder}/api/kubeconfig`,
      env: {},
      clock: systemClock,
      userAgent: "tandem-test",
    });
    t.teardown(() => client.close());
    const victim = await podAddress(lab, "default/victim");
    await lab.applyObjects([
      {
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: "thief", namespace: "default" },
        spec: { selector: { app: "thief" }, externalIPs: [victim], ports: [{ port: 8080, targetPort: 8080 }] },
      },
    ]);
    for (const node of ["node-1", "node-2"]) {
      await lab.until(
        `${node} tells of it`,
        async () => (await agentStatus(lab, node)).problems.some(({ code }) => code === "SERVICE_ADDRESS_REFUSED"),
        longMs,
      );
    }
    t.is(await answererOf(lab, "default/client", victim, 8080), "default/victim");
    const told = async () =>
      (await client.listAll(kinds.events)).filter(({ reason }) => reason === "ServiceAddressRefused");
    await lab.until("the Service has an Event", async () => (await told()).length > 0, longMs);
    const [event, ...others] = await told();
    t.deepEqual(others, []);
    t.like(event, { involvedObject: { kind: "Service", namespace: "default", name: "thief" } });
    const { stdout } = await lab.agent("node-1", ["service", "get", "default/thief"]);
    t.regex(stdout, /error SERVICE_ADDRESS_REFUSED: spec\.externalIPs: .* is of the pods of Node node-1/);
  });
});

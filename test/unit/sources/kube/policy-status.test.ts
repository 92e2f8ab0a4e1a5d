import { setMaxListeners } from "node:events";
import test from "ava";
import { kinds } from "../../../../src/kube/index.ts";
import { silentLogger } from "../../../../src/model/logging.ts";
import { TableStore } from "../../../../src/model/store.ts";
import { KubeSource } from "../../../../src/sources/kube/index.ts";
import { ManualClock } from "../../../support/manual-clock.ts";
import { FakeApi } from "./fake-api.ts";

test("what an operator writes into the status of a policy is no change of any table, so nothing is computed again", async (t) => {
  const [api, clock, store, stopping] = [new FakeApi(), new ManualClock(), new TableStore(), new AbortController()];
  setMaxListeners(0, stopping.signal);
  t.teardown(() => stopping.abort());
  const kindsOfPolicies = [kinds.ciliumNetworkPolicies, kinds.ciliumClusterwideNetworkPolicies];
  const policy = (generation: number, fields: object = {}) => ({
    metadata: { namespace: "shop", name: "web", uid: "uid-web", generation },
    spec: { endpointSelector: { matchLabels: { app: "web" } } },
    ...fields,
  });
  for (const kind of kindsOfPolicies) api.put(kind, policy(1));
  const conditions = { report: () => undefined };
  await Promise.all([
    new KubeSource({ client: api, store, conditions, log: silentLogger, clock }).start(stopping.signal),
    clock.advance(0),
  ]);
  const changes: string[] = [];
  store.onChange(({ table }) => void changes.push(table));
  const condition = { type: "Valid", status: "True", observedGeneration: 1, message: "it was understood" };
  for (const kind of kindsOfPolicies) {
    api.put(
      kind,
      policy(1, { status: { conditions: [condition], enforcement: { wanted: 1, enforcing: 1, failing: 0 } } }),
    );
  }
  await clock.advance(0);
  t.deepEqual(changes, []);
  // They were heard: the next one is.
  for (const kind of kindsOfPolicies) api.put(kind, policy(2));
  await clock.advance(0);
  t.deepEqual(changes, ["policies", "policies"]);
});

/** What chooses among a service's backends, and how much each of them counts. */
import test from "ava";
import { computeFrontends, createFrontends } from "../../../../src/compute/services/index.ts";
import type { EndpointSliceRow, ServiceRow } from "../../../../src/model/tables.ts";
import { endpoint, service, slice, tables } from "./support.ts";

const options = { nodeName: "node-1" };

test("clients inside: chance, or a table by the setting, or what the service says", (t) => {
  const chooses = (serviceSelection: "random" | "maglev" | undefined, fields: Partial<ServiceRow> = {}) => {
    const rows = tables({
      services: [service("web", fields)],
      endpointSlices: [slice("s", [endpoint("10.1.0.1")])],
    });
    const set = serviceSelection === undefined ? options : { ...options, serviceSelection };
    return computeFrontends(rows, set).frontends[0]?.selection ?? "random";
  };
  t.is(chooses(undefined), "random");
  t.is(chooses("maglev"), "maglev");
  t.is(chooses("maglev", { selection: "random" }), "random");
  t.is(chooses("random", { selection: "maglev" }), "maglev");
});

test("another setting concerns services that are known already", (t) => {
  const compute = createFrontends();
  const rows = tables({ services: [service("web")], endpointSlices: [slice("s", [endpoint("10.1.0.1")])] });
  t.is(compute(rows, options).frontends[0]?.selection, undefined);
  t.is(compute(rows, { ...options, serviceSelection: "maglev" }).frontends[0]?.selection, "maglev");
});

/** "address×weight" of who gets what is new, and of who serves on, as clients inside see it. */
function counted(slices: readonly EndpointSliceRow[]): { readonly backends: string; readonly others: string } {
  const [frontend] = computeFrontends(
    tables({ services: [service("web")], endpointSlices: slices }),
    options,
  ).frontends;
  const text = (list: readonly { readonly address: { readonly text: string }; readonly weight?: number }[] = []) =>
    list.map(({ address, weight }) => `${address.text}×${weight ?? 1}`).join(" ");
  return { backends: text(frontend?.backends), others: text(frontend?.others) };
}

test("endpoints count what their slice says", (t) => {
  const heavy = slice("heavy", [endpoint("10.1.0.1"), endpoint("10.1.0.2")], { weight: 3 });
  const plain = slice("plain", [endpoint("10.1.0.3")]);
  t.deepEqual(counted([heavy, plain]), { backends: "10.1.0.1×3 10.1.0.2×3 10.1.0.3×1", others: "" });
});

test("endpoints of weight 0 get nothing new while others do, and serve on", (t) => {
  const drained = slice("drained", [endpoint("10.1.0.1")], { weight: 0 });
  const plain = slice("plain", [endpoint("10.1.0.3")]);
  t.deepEqual(counted([drained, plain]), { backends: "10.1.0.3×1", others: "10.1.0.1×1" });
  t.deepEqual(counted([drained]), { backends: "10.1.0.1×1", others: "" }, "rather than nobody");
  const gone = slice("drained", [endpoint("10.1.0.1", { ready: false, serving: false })], { weight: 0 });
  t.deepEqual(counted([gone]), { backends: "", others: "" });
});

import test from "ava";
import type { KernelMaglev } from "../../../src/datapath/report.ts";
import { maglevReport } from "../../../src/observe/maglev.ts";
import { address, frontend } from "../datapath/world.ts";

const backend = (text: string) => ({ address: address(text), port: 8080 });

function entry(fields: Partial<KernelMaglev> = {}): KernelMaglev {
  return {
    frontend: { address: address("10.96.0.1"), port: 80 },
    protocol: 6,
    outside: false,
    backends: [backend("10.9.0.1"), backend("10.9.0.2")],
    table: [0, 1, 1, 0, 0],
    ...fields,
  };
}

test("each backend with its slots, under the service's name", (t) => {
  const [row] = maglevReport([entry()], [frontend("10.96.0.1", "10.9.0.1", "10.9.0.2")]);
  const { digest, ...rest } = row ?? { digest: "" };
  t.deepEqual(rest, {
    service: "shop/10.96.0.1:http",
    frontend: "10.96.0.1:80",
    protocol: "TCP",
    clients: "inside",
    slots: 5,
    backends: [
      { backend: "10.9.0.1:8080", slots: 3 },
      { backend: "10.9.0.2:8080", slots: 2 },
    ],
    table: [0, 1, 1, 0, 0],
  });
  t.regex(digest, /^[0-9a-f]{16}$/);
});

test("a digest is that of backends and table, wherever the service is", (t) => {
  const digest = (fields: Partial<KernelMaglev>) => maglevReport([entry(fields)], [])[0]?.digest;
  const same = { frontend: { address: address("10.96.0.9"), port: 443 }, outside: true };
  t.is(digest(same), digest({}));
  const others: readonly Partial<KernelMaglev>[] = [
    { table: [0, 1, 1, 0, 1] },
    { table: [0, 1, 1, 0, null] },
    { backends: [backend("10.9.0.1"), backend("10.9.0.3")] },
  ];
  for (const fields of others) t.not(digest(fields), digest({}));
});

test("sorted by address, port and kind of client", (t) => {
  const at = (text: string, port: number, outside = false) =>
    entry({ frontend: { address: address(text), port }, outside });
  const rows = maglevReport(
    [at("10.96.0.2", 80, true), at("10.96.0.2", 80), at("10.96.0.10", 80), at("10.96.0.2", 79)],
    [],
  );
  t.deepEqual(
    rows.map((row) => `${row.frontend} ${row.clients}`),
    ["10.96.0.2:79 inside", "10.96.0.2:80 inside", "10.96.0.2:80 outside", "10.96.0.10:80 inside"],
  );
});

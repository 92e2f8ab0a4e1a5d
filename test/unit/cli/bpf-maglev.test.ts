import test from "ava";
import type { MaglevTableDto } from "../../../src/api/dto.ts";
import { CliError } from "../../../src/cli/errors.ts";
import { fakeAgent } from "../../support/fake-agent.ts";
import { runCli } from "../../support/run-cli.ts";

const web: MaglevTableDto = {
  service: "shop/web:http",
  frontend: "203.0.113.10:80",
  protocol: "TCP",
  clients: "outside",
  slots: 4,
  digest: "00112233445566ff",
  backends: [
    { backend: "10.0.1.2:8080", slots: 3 },
    { backend: "10.0.2.2:8080", slots: 1 },
  ],
  table: [0, 1, 0, 0],
};
const db: MaglevTableDto = {
  ...web,
  service: "shop/db:sql",
  frontend: "[fd00::9]:5432",
  slots: 0,
  backends: [{ backend: "[fd00:1::2]:5432", slots: 0 }],
  table: [],
};

const run = async (socket: string, ...argv: readonly string[]) =>
  (await runCli(["bpf", "maglev", ...argv, "--socket", socket])).output;

const agent = async (t: Parameters<typeof fakeAgent>[0], tables: readonly MaglevTableDto[]) =>
  (await fakeAgent(t, { queries: { maglevTables: async () => tables } })).socket;

test("list tells sizes and digests, and leaves the tables out", async (t) => {
  const socket = await agent(t, [web, db]);
  t.regex(await run(socket, "list"), /shop\/web:http\s+203\.0\.113\.10:80\/TCP\s+outside\s+4\s+00112233445566ff\s+2/);
  const [first] = JSON.parse(await run(socket, "list", "--json")) as readonly MaglevTableDto[];
  const { table: _, ...rest } = web;
  t.deepEqual(first, rest as MaglevTableDto);
});

test("get finds a service by its name, with a port, or by an address", async (t) => {
  const socket = await agent(t, [web, db]);
  for (const name of ["shop/web", "shop/web:http", "203.0.113.10:80"]) {
    const text = await run(socket, "get", name);
    t.regex(
      text,
      /^shop\/web:http at 203\.0\.113\.10:80\/TCP, for clients outside\n4 slots, digest 00112233445566ff\n/,
    );
    t.regex(text, /10\.0\.1\.2:8080\s+3\s+75\.00%\n10\.0\.2\.2:8080\s+1\s+25\.00%/);
  }
  t.deepEqual(JSON.parse(await run(socket, "get", "[fd00::9]:5432", "--json")), [db]);
  t.regex(await run(socket, "get", "shop/db"), /no table: hashes are spread over the backends evenly/);
});

test("a service for which no hash chooses is not found, with a way to look", async (t) => {
  const socket = await agent(t, [web]);
  const error = await t.throwsAsync(run(socket, "get", "shop/other"), { instanceOf: CliError });
  t.regex(error.message, /no hash chooses for a service shop\/other on this node/);
  t.regex(error.remedy, /tandem bpf maglev list/);
});

test("a part that is missing in the kernel is told", async (t) => {
  const socket = await agent(t, [{ ...web, table: [0, null, null, 0] }]);
  t.regex(await run(socket, "get", "shop/web"), /2 slots are not in the kernel/);
});

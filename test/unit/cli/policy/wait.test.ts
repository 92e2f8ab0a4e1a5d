import { join } from "node:path";
import test from "ava";
import { fakeAgent, status, temporaryFolder } from "../../../support/fake-agent.ts";
import { tandem } from "./support.ts";

test("wait ends when the kernel has what the agent had seen when it was asked first", async (t) => {
  let asked = 0;
  const { socket } = await fakeAgent(t, {
    queries: {
      status: async () => {
        asked++;
        // Facts go on changing; the wait is for those of the first answer.
        return { ...status, revision: { facts: 9 + asked, applied: asked < 3 ? 8 : 10 } };
      },
    },
  });
  const { output, exitCode } = await tandem("policy", "wait", "--socket", socket);
  t.is(exitCode, 0);
  t.is(output, "revision 10 is in the kernel (applied 10)\n");
  t.is(asked, 3);
});

test("a revision that does not come is exit code 1 with what is known", async (t) => {
  const { socket } = await fakeAgent(t);
  const { notes, exitCode } = await tandem("policy", "wait", "--revision", "6", "--timeout", "0.1", "--socket", socket);
  t.is(exitCode, 1);
  t.regex(
    notes,
    /POLICY_WAIT_TIMEOUT: revision 6 is not in the kernel after 0.1 s: the agent has seen 5 so far, the kernel has 5/,
  );
});

test("--json prints both revisions; wrong numbers are exit code 2, as is no agent", async (t) => {
  const { socket } = await fakeAgent(t);
  t.deepEqual(JSON.parse((await tandem("policy", "wait", "--json", "--socket", socket)).output), {
    revision: 5,
    applied: 5,
  });
  t.is((await tandem("policy", "wait", "--revision", "x", "--socket", socket)).exitCode, 2);
  t.is((await tandem("policy", "wait", "--timeout", "-1", "--socket", socket)).exitCode, 2);
  t.is((await tandem("policy", "wait", "--socket", join(await temporaryFolder(t), "none"))).exitCode, 2);
});

test("policy get shows the agent's policies with their problems", async (t) => {
  const problem = {
    code: "POLICY_PORT_RANGE",
    severity: "error",
    object: "CiliumNetworkPolicy shop/api",
    field: "spec",
    message: "m",
    remedy: "r",
  } as const;
  const policy = {
    kind: "CiliumNetworkPolicy",
    namespace: "shop",
    name: "api",
    valid: false,
    endpoints: [7],
    ownNode: true,
    problems: [problem],
  };
  const { socket } = await fakeAgent(t, { queries: { policies: () => [policy] } });
  const all = await tandem("policy", "get", "--socket", socket);
  t.regex(
    all.output,
    /CiliumNetworkPolicy +shop +api +False +node,7\n\n +error POLICY_PORT_RANGE: CiliumNetworkPolicy shop\/api, spec: m/,
  );
  t.is((await tandem("policy", "get", "shop/other", "--socket", socket)).exitCode, 1);
  t.is(
    (JSON.parse((await tandem("policy", "get", "api", "--json", "--socket", socket)).output) as unknown[]).length,
    1,
  );
});

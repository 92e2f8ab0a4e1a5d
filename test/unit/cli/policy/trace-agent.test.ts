/** `tandem policy trace` without manifests: what the agent says, for people. */
import { join } from "node:path";
import test from "ava";
import { ApiError } from "../../../../src/api/errors.ts";
import type { PolicyTraceDto, TraceQuestionDto } from "../../../../src/api/policy-dto.ts";
import type { TraceEnd, TraceParty } from "../../../../src/model/policy-reports.ts";
import { fakeAgent, temporaryFolder } from "../../../support/fake-agent.ts";
import { tandem } from "./support.ts";

const party = (name: string, node: string, address: string): TraceParty => ({
  kind: "pod",
  name,
  address,
  node,
  identity: 256,
  labels: ["k8s:app=web"],
  about: "app=web in shop",
});

const end = (change: Partial<TraceEnd>): TraceEnd => ({
  side: "egress",
  subject: "shop/web",
  node: "node-2",
  verdict: "allow",
  because: "no policy closes egress",
  rules: [],
  basis: "open",
  enforced: false,
  closedBy: [],
  lookup: null,
  groups: [],
  near: [],
  ...change,
});

const denied = end({
  side: "ingress",
  subject: "shop/db",
  node: "node-1",
  verdict: "deny",
  because: "no rule allows it, and ingress is closed by NetworkPolicy shop/db",
  basis: "default",
  enforced: true,
  closedBy: ["NetworkPolicy shop/db"],
  lookup: { peer: [1], port: [0] },
  near: ["NetworkPolicy shop/db ingress[0] names this peer, but allows TCP 5432"],
  audit: false,
  kernel: { verdict: "deny", group: null },
});

function answer(ingress: TraceEnd, change: Partial<PolicyTraceDto> = {}): PolicyTraceDto {
  const path = {
    verdict: "deny" as const,
    flow: { protocol: 6, port: 80 },
    flowText: "TCP 80",
    source: party("shop/web", "node-2", "10.0.2.2"),
    destination: party("shop/db", "node-1", "10.0.1.3"),
    ends: [end({}), ingress],
  };
  return {
    title: "shop/web -> shop/db TCP 80",
    verdict: "deny",
    service: null,
    nowhere: null,
    paths: [path],
    node: "node-1",
    revision: { facts: 5, applied: 5 },
    ...change,
  };
}

const words = ["policy", "trace", "--from", "shop/web", "--to", "shop/db", "--port", "80/TCP"];

test("the agent is asked for what was written, and its answer is printed step by step", async (t) => {
  const asked: TraceQuestionDto[] = [];
  const { socket } = await fakeAgent(t, {
    queries: {
      policyTrace: async (question) => {
        asked.push(question);
        return answer(denied);
      },
    },
  });
  const { output, exitCode } = await tandem(...words, "--family", "4", "--socket", socket);
  t.is(exitCode, 0);
  t.deepEqual(asked, [{ from: "shop/web", to: "shop/db", port: "80/TCP", icmp: null, icmp6: null, family: 4 }]);
  t.regex(output, /^shop\/web -> shop\/db TCP 80\nfrom shop\/web \(10\.0\.2\.2\), pod on node-2, identity 256\n/);
  t.regex(output, /egress of shop\/web: ALLOW\n +no policy closes egress\n +judged on node-2: ask its agent/);
  t.regex(
    output,
    /ingress of shop\/db: DENY\n +closed by NetworkPolicy shop\/db\n +groups .*peer: 1; .*port: 0; both: none\n/,
  );
  t.regex(output, /near: NetworkPolicy shop\/db ingress\[0\] names this peer/);
  t.regex(output, / {2}in the kernel: the same, by no group of rules\n/);
  t.regex(output, /\nverdict: DENY\nby what node-1 knows at revision 5; all of it is in the kernel\n$/);
  const json = await tandem(...words, "--json", "--socket", socket);
  t.deepEqual(JSON.parse(json.output), answer(denied));
});

test("audit mode and a kernel that is behind are told", async (t) => {
  const { socket } = await fakeAgent(t, {
    queries: {
      policyTrace: async () =>
        answer(
          { ...denied, audit: true, kernel: { verdict: "allow", group: 2 } },
          { revision: { facts: 7, applied: 5 } },
        ),
    },
  });
  const { output } = await tandem(...words, "--socket", socket);
  t.regex(
    output,
    /audit mode: it is let through, and reported\n +in the kernel: ALLOW, which is not the same, by group 2\n/,
  );
  t.regex(
    output,
    /verdict: DENY \(audit mode lets it through and reports it\)\nby what node-1 knows at revision 7; the kernel has revision 5\n$/,
  );
});

test("an end that the agent does not know is exit code 2 in the words of the command line", async (t) => {
  const { socket } = await fakeAgent(t, {
    queries: {
      policyTrace: async () => {
        throw new ApiError(400, "TRACE_END", "from shop/wep: there is no pod shop/wep", "did you mean shop/web?");
      },
    },
  });
  const { notes, exitCode } = await tandem(...words, "--socket", socket);
  t.is(exitCode, 2);
  t.is(notes, "TRACE_END: --from shop/wep: there is no pod shop/wep\ndid you mean shop/web?\n");
});

test("a port that is none is told without an agent; no agent is exit code 2", async (t) => {
  const none = join(await temporaryFolder(t), "none.sock");
  const port = await tandem("policy", "trace", "--from", "a/b", "--to", "a/c", "--port", "0", "--socket", none);
  t.is(port.exitCode, 2);
  t.regex(port.notes, /TRACE_FLOW/);
  const gone = await tandem(...words, "--socket", none);
  t.is(gone.exitCode, 2);
  t.regex(gone.notes, /AGENT_UNREACHABLE/);
});

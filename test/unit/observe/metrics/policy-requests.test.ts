import test from "ava";
import { maxPolicies, PolicyRequests } from "../../../../src/observe/metrics/policy-requests.ts";
import { compiledSet, rule, text } from "./status-fixture.ts";

function series(requests: PolicyRequests, name = "tandem_l7_policy_requests_total"): Record<string, number> {
  const family = requests.metrics().find((each) => each.name === name);
  const samples = family === undefined || family.type === "histogram" ? [] : family.samples;
  return Object.fromEntries(samples.map(({ labels, value }) => [Object.values(labels).join(" "), value]));
}

const origin = (name: string) => `CiliumNetworkPolicy shop/${name} egress[0]`;
const count = (ruleSet: number, requests: number, denied = 0) => ({ ...rule(ruleSet), requests, denied });

test("requests count for the policies that their rules come from, of which another group allows more", (t) => {
  const requests = new PolicyRequests();
  requests.follow([{ id: 7, text }], [compiledSet([[origin("api"), "CiliumClusterwideNetworkPolicy all egress[1]"]])]);
  requests.take("1 0", [count(0, 9), count(7, 5, 2)]);
  t.deepEqual(series(requests), {
    "shop api http allowed": 5,
    "shop api http denied": 2,
    " all http allowed": 5,
    " all http denied": 2,
  });
});

test("counts are sums of their process: only what is new counts, of each process, and of one that began anew all", (t) => {
  const requests = new PolicyRequests();
  requests.take("1 0", [count(7, 3)]);
  t.deepEqual(series(requests), {}, "what the rules are is not known yet");
  requests.follow([{ id: 7, text }], [compiledSet([[origin("api")]])]);
  requests.take("1 0", [count(7, 5)]);
  requests.take("1 0", [count(7, 6)]);
  requests.take("2 0", [count(7, 10)]);
  requests.take("1 0", [count(7, 6)]);
  t.deepEqual(series(requests), { "shop api http allowed": 16 });
  requests.take("1 0", [count(7, 1)]);
  t.deepEqual(series(requests), { "shop api http allowed": 17 });
});

test("rules that a policy no longer has leave its figure as it is, and what the proxy still counts for them is not lost", (t) => {
  const requests = new PolicyRequests();
  requests.follow([{ id: 7, text }], [compiledSet([[origin("api")]])]);
  requests.take("1 0", [count(7, 5)]);
  const next = 'http [{"method":"PUT"}]';
  requests.follow([{ id: 8, text: next }], [compiledSet([[origin("api")]], [next])]);
  requests.take("1 0", [count(7, 6)]);
  requests.take("1 0", [count(8, 2)]);
  t.deepEqual(series(requests), { "shop api http allowed": 8 });
});

test("policies beyond the bound share one series, and are counted; one that is gone makes room", (t) => {
  const requests = new PolicyRequests();
  const names = Array.from({ length: maxPolicies + 2 }, (_, at) => `p${at}`);
  const texts = names.map((name) => `http [{"path":"/${name}"}]`);
  const follow = (first: number) =>
    requests.follow(
      texts.slice(first).map((each, at) => ({ id: first + at + 1, text: each })),
      [
        compiledSet(
          names.slice(first).map((name) => [origin(name)]),
          texts.slice(first),
        ),
      ],
    );
  follow(0);
  requests.take(
    "1 0",
    names.map((_, at) => count(at + 1, 1)),
  );
  t.is(Object.keys(series(requests)).length, maxPolicies + 1);
  t.is(series(requests)["other other http allowed"], 2);
  t.deepEqual(series(requests, "tandem_l7_policies_in_other"), { "": 2 });
  follow(1);
  requests.take("1 0", [count(maxPolicies + 1, 4)]);
  t.is(series(requests)[`shop p${maxPolicies} http allowed`], 3);
  t.is(series(requests)["shop p0 http allowed"], undefined);
  t.deepEqual(series(requests, "tandem_l7_policies_in_other"), { "": 1 });
});

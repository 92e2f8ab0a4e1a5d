import test from "ava";
import { type L7Rules, parseDemands } from "../../../../src/compute/l7/parse-demands.ts";

const noHttp = { method: null, path: null, host: null, headers: [] };
const noKafka = { apiKeys: [], apiVersion: null, clientId: null, topic: null };

const cases: readonly (readonly [string, L7Rules | null])[] = [
  ["http [{}]", { protocol: "http", rules: [noHttp] }],
  [
    'http [{"headers":["X-Key: a b","X-Any"],"method":"GET","path":"/v1/.*"}]',
    {
      protocol: "http",
      rules: [
        {
          ...noHttp,
          method: "GET",
          path: "/v1/.*",
          headers: [
            { name: "x-key", value: "a b", mismatch: "refuse" },
            { name: "x-any", value: null, mismatch: "refuse" },
          ],
        },
      ],
    },
  ],
  [
    'http [{"headerMatches":[{"mismatch":"DELETE","name":"X-A","value":"1"},{"name":"X-B"}]}]',
    {
      protocol: "http",
      rules: [
        {
          ...noHttp,
          headers: [
            { name: "x-a", value: "1", mismatch: "remove" },
            { name: "x-b", value: null, mismatch: "refuse" },
          ],
        },
      ],
    },
  ],
  ['http [{"headerMatches":[{"name":"X-A","secret":{"name":"s"}}]}]', { protocol: "http", rules: [] }],
  [
    'kafka [{"role":"produce","topic":"a"},{"apiKey":"FETCH","apiVersion":"4","clientID":"c"}]',
    {
      protocol: "kafka",
      rules: [
        { ...noKafka, apiKeys: [0, 3, 18], topic: "a" },
        { ...noKafka, apiKeys: [1], apiVersion: 4, clientId: "c" },
      ],
    },
  ],
  ['http [{}]\nterminatingTLS {"secret":{"name":"s"}}', null],
  ["http [{}]\nauthentication required", null],
  ["l7 r2d2 [{}]", null],
  ["authentication required", null],
];

for (const [text, rules] of cases) {
  test(`${text.replace("\n", " and ")}`, (t) => t.deepEqual(parseDemands(text), rules));
}

/** Patterns of names have no syntax that RE2 and JavaScript read differently. */
function meaning(text: string): (name: string) => boolean {
  const rules = parseDemands(text);
  if (rules?.protocol !== "dns" && rules?.protocol !== "tls") throw new Error(`${text} is not about names`);
  return (name) => rules.rules.some(({ pattern }) => new RegExp(`^(?:${pattern})$`).test(name));
}

test("names of DNS rules are meant with their last dot, and a star stays in its label", (t) => {
  const name = meaning('dns [{"matchName":"API.example.com"}]');
  t.deepEqual(["api.example.com.", "api.example.com", "apixexample.com."].map(name), [true, false, false]);
  const pattern = meaning('dns [{"matchPattern":"*.example.com"}]');
  t.deepEqual(["a.example.com.", ".example.com.", "a.b.example.com.", "example.com."].map(pattern), [
    true,
    true,
    false,
    false,
  ]);
  const all = meaning('dns [{"matchPattern":"*"}]');
  t.deepEqual(["a.b.", ".", "a"].map(all), [true, true, false]);
});

test("names of servers have no last dot; two stars are one or more labels", (t) => {
  const one = meaning('serverNames ["*.example.com","Exact.org"]');
  t.deepEqual(["a.example.com", "a.b.example.com", "example.com", "exact.org"].map(one), [true, false, false, true]);
  const more = meaning('serverNames ["**.example.com"]');
  t.deepEqual(["a.example.com", "a.b.example.com", "example.com"].map(more), [true, true, false]);
});

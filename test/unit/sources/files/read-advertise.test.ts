/** What annotations say of a service's announcement, and what is told of those that say nothing. */
import test from "ava";
import { readObjects } from "../../../../src/sources/files/read-objects.ts";

function read(annotations: object) {
  const value = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "s", annotations },
    spec: { type: "LoadBalancer", clusterIP: "10.96.0.1" },
  };
  const { rows, problems } = readObjects([{ value, file: "s.yaml", line: 1 }]);
  return {
    advertise: rows.services.get("default/s")?.advertise,
    told: problems
      .filter(({ code }) => code === "SERVICE_ANNOTATION")
      .map(({ message, remedy }) => `${message}; ${remedy}`),
  };
}

test("what parses is taken", (t) => {
  t.deepEqual(read({}), { advertise: undefined, told: [] });
  t.deepEqual(read({ "tandem.io/advertise": "true" }).advertise, { kinds: true });
  t.deepEqual(read({ "tandem.io/advertise": "false" }).advertise, { kinds: [] });
  t.deepEqual(read({ "tandem.io/advertise": "LoadBalancer, ClusterIP" }).advertise, {
    kinds: ["ClusterIP", "LoadBalancer"],
  });
  const all = read({
    "tandem.io/bgp-communities": "64512:100 no-export,64512:4200000000:1",
    "tandem.io/bgp-local-preference": "4294967295",
    "tandem.io/bgp-as-path-prepend": "3",
  });
  t.deepEqual(all, {
    advertise: {
      communities: ["64512:100", "64512:4200000000:1", "65535:65281"],
      localPref: 4_294_967_295,
      prepend: 3,
    },
    told: [],
  });
});

test("what does not parse is told, counts as not written, and leaves the rest", (t) => {
  for (const [name, value, expected] of [
    ["advertise", "maybe", /"maybe" is no kind/],
    ["advertise", "Loadbalancer", /did you mean LoadBalancer/],
    ["advertise", true, /put it in quotes/],
    ["advertize", "true", /did you mean tandem.io\/advertise/],
    ["bgp-communities", "64512:70000", /"64512:70000" is no community/],
    ["bgp-communities", "1:2:3:4", /is no community/],
    ["bgp-local-preference", "4294967296", /is no number from 0 to 4294967295/],
    ["bgp-local-preference", "-1", /is no number/],
    ["bgp-as-path-prepend", "11", /is no number from 0 to 10/],
    ["bgp-prepend", "1", /there is no such annotation/],
  ] as const) {
    const { advertise, told } = read({ [`tandem.io/${name}`]: value });
    t.is(advertise, undefined, `${name}: ${value}`);
    if (name !== "advertize") t.regex(told.join(), expected, `${name}: ${value}`);
  }
  const mixed = read({ "tandem.io/bgp-communities": "wrong, 1:2" });
  t.deepEqual([mixed.advertise, mixed.told.length], [{ communities: ["1:2"] }, 1]);
});

import test from "ava";
import { EndpointSettings } from "../../../src/agent/endpoint-settings.ts";
import { ManualClock } from "../../support/manual-clock.ts";

function setUp(known = true) {
  const clock = new ManualClock();
  const loop = { result: {} as unknown, revision: { facts: 4, applied: 4 } };
  const endpoints = {
    configure: async () => {
      if (known) loop.revision = { ...loop.revision, facts: 5 };
      return known;
    },
  };
  const settings = new EndpointSettings({ endpoints, loop, clock });
  let answer: unknown = null;
  const asked = settings
    .configure("shop/web", { policyAuditMode: true })
    .then((found) => {
      answer = found;
    })
    .catch((error: unknown) => {
      answer = error;
    });
  return { clock, loop, asked, answer: () => answer };
}

test("an option is answered when the kernel has it", async (t) => {
  const { clock, loop, answer } = setUp();
  await clock.advance(100);
  t.is(answer(), null);
  loop.revision = { facts: 6, applied: 5 };
  await clock.advance(10);
  t.is(answer(), true);
});

test("an agent that has computed nothing yet has nothing in the kernel", async (t) => {
  const { clock, loop, answer } = setUp();
  loop.result = null;
  loop.revision = { facts: 0, applied: 0 };
  await clock.advance(100);
  t.is(answer(), null);
});

test("an endpoint that is not there is answered at once", async (t) => {
  const { clock, answer } = setUp(false);
  await clock.advance(0);
  t.is(answer(), false);
});

test("an option that does not come into force is told after five seconds", async (t) => {
  const { clock, answer } = setUp();
  await clock.advance(5_100);
  t.like(answer(), { code: "ENDPOINT_NOT_APPLIED" });
});

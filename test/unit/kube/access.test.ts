import test, { type ExecutionContext } from "ava";
import { AccessReader } from "../../../src/kube/access.ts";
import type { AccessPlan } from "../../../src/kube/access-plan.ts";
import { KubeConfigError } from "../../../src/kube/errors.ts";
import type { ExecCredential } from "../../../src/kube/exec-plugin.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const plan: AccessPlan = {
  origin: "test",
  server: "https://api.test",
  serverName: null,
  insecure: false,
  ca: null,
  certificate: null,
  key: null,
  token: { path: "token" },
  exec: null,
  namespace: { text: "shop" },
};
const exec = {
  apiVersion: "client.authentication.k8s.io/v1",
  command: "login",
  args: [],
  env: {},
  provideClusterInfo: false,
  installHint: "",
};

interface Setting {
  readonly access: AccessReader;
  readonly clock: ManualClock;
  readonly files: Map<string, string>;
  plan: AccessPlan;
  credential: ExecCredential | Error;
  /** How often each file was read, and the plugin asked. */
  readonly reads: Record<string, number>;
}

function setting(_t: ExecutionContext, changes: Partial<AccessPlan> = {}): Setting {
  const clock = new ManualClock();
  const files = new Map([["token", "one\n"]]);
  const reads: Record<string, number> = {};
  const count = (name: string) => {
    reads[name] = (reads[name] ?? 0) + 1;
  };
  const self: Setting = {
    clock,
    files,
    reads,
    plan: { ...plan, ...changes },
    credential: { token: "given", certificate: null, key: null, expires: null },
    access: new AccessReader({
      clock,
      plan: async () => self.plan,
      readFile: async (path) => {
        count(path);
        const text = files.get(path);
        if (text === undefined) throw new Error("ENOENT");
        return text;
      },
      plugin: async () => {
        count("plugin");
        if (self.credential instanceof Error) throw self.credential;
        return self.credential;
      },
    }),
  };
  return self;
}

test("a token's file is read again after some seconds, not for each request", async (t) => {
  const { access, clock, files, reads } = setting(t);
  t.like(await access.current(), { authorization: "Bearer one", namespace: "shop", server: "https://api.test" });
  files.set("token", "two");
  await clock.advance(9_000);
  t.is((await access.current()).authorization, "Bearer one");
  await clock.advance(1_000);
  t.is((await access.current()).authorization, "Bearer two");
  t.is(reads.token, 2);
});

test("ten requests at once need one reading", async (t) => {
  const { access, reads } = setting(t);
  await Promise.all(Array.from({ length: 10 }, () => access.current()));
  t.is(reads.token, 1);
});

test("after a refusal everything is read at once; a refusal of older credentials is no news", async (t) => {
  const { access, files, reads } = setting(t);
  const first = await access.current();
  files.set("token", "two");
  access.refused(first);
  const second = await access.current();
  t.is(second.authorization, "Bearer two");
  access.refused(first);
  t.is(await access.current(), second);
  t.is(reads.token, 2);
});

test("a file that is missing for a moment changes nothing, and the problem is told until it is back", async (t) => {
  const { access, clock, files } = setting(t);
  const first = await access.current();
  files.delete("token");
  await clock.advance(10_000);
  t.is(await access.current(), first);
  t.is(access.problem, "it cannot be read: ENOENT");
  files.set("token", "one");
  await clock.advance(10_000);
  t.is(await access.current(), first, "nothing changed");
  t.is(access.problem, null);
});

test("without anything to go by, the file is named", async (t) => {
  const { access, files } = setting(t);
  files.delete("token");
  const error = await t.throwsAsync(access.current(), { instanceOf: KubeConfigError, code: "KUBE_CREDENTIALS" });
  t.is(error?.object, "token");
});

test("a kubeconfig that changes takes effect: another server means other connections", async (t) => {
  const self = setting(t);
  const first = await self.access.current();
  self.plan = { ...self.plan, server: "https://other.test", token: null };
  await self.clock.advance(10_000);
  const second = await self.access.current();
  t.is(second.server, "https://other.test");
  t.is(second.authorization, null);
  t.not(second.connectionId, first.connectionId);
});

test("another token needs no other connection", async (t) => {
  const { access, clock, files } = setting(t);
  const first = await access.current();
  files.set("token", "two");
  await clock.advance(10_000);
  t.is((await access.current()).connectionId, first.connectionId);
});

test("certificates that cannot be used are refused; while good ones are in force they stay", async (t) => {
  const bad = setting(t, { ca: { text: "no PEM" }, certificate: { text: "x" }, key: { text: "y" } });
  const error = await t.throwsAsync(bad.access.current(), { instanceOf: KubeConfigError });
  t.regex(error?.message ?? "", /do not fit together/);
  const good = setting(t);
  const first = await good.access.current();
  good.plan = { ...good.plan, certificate: { text: "x" }, key: { text: "y" } };
  await good.clock.advance(10_000);
  t.is(await good.access.current(), first);
  t.regex(good.access.problem ?? "", /do not fit together/);
});

test("a plugin is asked once, again shortly before its credential ends, and after a refusal", async (t) => {
  const self = setting(t, { exec, token: null });
  const { access, clock, reads } = self;
  const give = (token: string, lifeMs: number | null) => {
    self.credential = {
      token,
      certificate: null,
      key: null,
      expires: lifeMs === null ? null : clock.now() + lifeMs,
    };
  };
  give("a", 900_000);
  t.is((await access.current()).authorization, "Bearer a");
  await clock.advance(869_000);
  await access.current();
  t.is(reads.plugin, 1);
  give("b", null);
  await clock.advance(1_000);
  t.is((await access.current()).authorization, "Bearer b");
  await clock.advance(3_600_000);
  const current = await access.current();
  t.is(reads.plugin, 2);
  give("c", null);
  access.refused(current);
  t.is((await access.current()).authorization, "Bearer c");
});

test("a plugin that fails leaves the credential in force as long as there is one", async (t) => {
  const self = setting(t, { exec, token: null });
  const first = await self.access.current();
  self.credential = new Error("login first");
  self.access.refused(first);
  t.is(await self.access.current(), first);
  t.is(self.access.problem, "login first");
});

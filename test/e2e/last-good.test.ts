/** A policy that is broken while agents die and start holds as it last was: what was closed is never open in between. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import type { Lab } from "../../src/lab/lab.ts";
import { agentStatus, answererOf, pod, podAddress, withLab } from "../support/lab.ts";

/** Each has a policy of its own: broken or invalid, while agents look or while none does. */
const servers = ["broken", "invalid", "broken-away", "invalid-away"] as const;
type Server = (typeof servers)[number];
const nodes = ["node-1", "node-2"] as const;

function policyOf(server: Server, from: string, field = "from"): string {
  return JSON.stringify({
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: server, namespace: "default" },
    spec: {
      podSelector: { matchLabels: { app: server } },
      policyTypes: ["Ingress"],
      ingress: [{ [field]: [{ podSelector: { matchLabels: { app: from } } }] }],
    },
  });
}

const noYaml = "kind: NetworkPolicy\nmetadata: {name: x\nspec: [\n";

/** Connections to all addresses at once, again and again until the file `stop` is there: how many were answered and how many not. */
async function knock(
  lab: Lab,
  from: string,
  addresses: readonly string[],
  { seconds, stop }: { readonly seconds: number; readonly stop: string },
): Promise<{ readonly answered: number; readonly refused: number }> {
  const urls = addresses.map((address) => `-o /dev/null http://${address}:8080/`).join(" ");
  const round = `curl -sgZ -m ${seconds} -w '%{http_code}\n' ${urls}; sleep 0.02`;
  const { stdout } = await lab.exec(from, ["sh", "-c", `while [ ! -e ${stop} ]; do ${round}; done`], {
    timeoutMs: 300_000,
  });
  const codes = stdout.trim().split("\n");
  return {
    answered: codes.filter((code) => code === "200").length,
    refused: codes.filter((code) => code === "000").length,
  };
}

test("kill -9 and restart of the agents while policies are broken or invalid: what they close stays closed, what they allow stays open", (t) =>
  withLab(
    t,
    {
      objects: [
        ...servers.map((name) => pod(name, { node: "node-1" })),
        pod("friend", { node: "node-2" }),
        pod("stranger", { node: "node-2" }),
        pod("near", { node: "node-1", labels: { app: "stranger" } }),
      ],
    },
    async (lab) => {
      const address = new Map<Server, string>();
      for (const server of servers) address.set(server, await podAddress(lab, `default/${server}`));
      const file = (server: Server) => join(lab.plan.manifests, `${server}.yaml`);
      const write = (server: Server, text: string) => writeFile(file(server), text);
      const reaches = async (from: string, server: Server) => {
        return (await answererOf(lab, `default/${from}`, address.get(server) ?? "", 8080, 3)) !== null;
      };
      const problemsAre = (expected: readonly string[]) =>
        lab.until(`problems: ${expected.join(", ")}`, async () => {
          const seen = await Promise.all(nodes.map(async (node) => (await agentStatus(lab, node)).problems));
          return seen.every((problems) => {
            const texts = problems.map(({ code, object }) => `${code} ${object}`).sort();
            return JSON.stringify(texts) === JSON.stringify([...expected].sort());
          });
        });
      const restart = async (meanwhile: () => Promise<void>) => {
        for (const node of nodes) await lab.stopAgent(node, "SIGKILL");
        await meanwhile();
        for (const node of nodes) await lab.startAgent(node);
      };

      for (const server of servers) await write(server, policyOf(server, "friend"));
      for (const server of servers) {
        await lab.until(`${server} is closed`, async () => !(await reaches("stranger", server)));
        t.true(await reaches("friend", server));
      }

      const folder = await mkdtemp(join(tmpdir(), "tandem-knock-"));
      t.teardown(() => rm(folder, { recursive: true, force: true }));
      const stop = join(folder, "stop");
      const all = [...address.values()];
      const friend = knock(lab, "default/friend", all, { seconds: 20, stop });
      const strangers = ["stranger", "near"].map((from) => knock(lab, `default/${from}`, all, { seconds: 0.3, stop }));

      await write("broken", noYaml);
      await write("invalid", policyOf("invalid", "friend", "form"));
      const first = [
        `MANIFEST_SYNTAX ${file("broken")}`,
        "POLICY_KEPT NetworkPolicy default/invalid",
        "POLICY_UNKNOWN_FIELD NetworkPolicy default/invalid",
      ];
      await problemsAre(first);
      await restart(async () => {
        await write("broken-away", noYaml);
        await write("invalid-away", policyOf("invalid-away", "friend", "form"));
      });
      const second = [
        `MANIFEST_SYNTAX ${file("broken-away")}`,
        "POLICY_KEPT NetworkPolicy default/invalid-away",
        "POLICY_UNKNOWN_FIELD NetworkPolicy default/invalid-away",
      ];
      await problemsAre([...first, ...second]);
      await restart(async () => undefined);
      await problemsAre([...first, ...second]);
      t.is((await lab.agent("node-1", ["status"])).code, 1, "degraded");

      await writeFile(stop, "");
      for (const { answered, refused } of await Promise.all(strangers)) {
        t.is(answered, 0, "a stranger came through");
        t.true(refused > 20, `only ${refused} were tried`);
      }
      const { answered, refused } = await friend;
      t.is(refused, 0, "the friend was refused");
      t.true(answered > 20, `only ${answered} were tried`);

      // Two are mended, and mean something else now; two are deleted.
      for (const server of ["broken", "invalid-away"] as const) await write(server, policyOf(server, "stranger"));
      for (const server of ["invalid", "broken-away"] as const) await rm(file(server));
      await problemsAre([]);
      const asWritten = async () => {
        for (const server of servers) {
          await lab.until(`${server} is open to the stranger`, () => reaches("stranger", server));
          t.true(await reaches("near", server));
        }
        for (const server of ["broken", "invalid-away"] as const) t.false(await reaches("friend", server));
        for (const server of ["invalid", "broken-away"] as const) t.true(await reaches("friend", server));
      };
      await asWritten();
      await restart(async () => undefined);
      await problemsAre([]);
      await asWritten();
    },
  ));

/** The overlays that docs/install.md gives to be copied are ones that kubectl takes, and come to what the page says. */
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { parseAllDocuments } from "yaml";
import { mustRun } from "../../src/lab/run.ts";
import { kubectlMissing } from "../support/kubectl.ts";

const root = new URL("../..", import.meta.url).pathname;
const title = "the overlays of docs/install.md set image, address of the API server and disruption budget";

interface Workload {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly template: {
      readonly spec: {
        readonly containers: readonly {
          readonly image: string;
          readonly env?: readonly { readonly name: string; readonly value?: string }[];
        }[];
        readonly initContainers?: readonly { readonly image: string }[];
      };
    };
  };
}

/** Blocks that name a file in their first line; those of one file in their order. */
async function filesOf(page: string): Promise<ReadonlyMap<string, string>> {
  const files = new Map<string, string>();
  for (const [, name = "", text = ""] of (await readFile(page, "utf8")).matchAll(
    /^```yaml\n# ([\w./-]+)[^\n]*\n(.*?)^```/gms,
  ))
    files.set(name, `${files.get(name) ?? ""}${text}`);
  return files;
}

const missing = kubectlMissing();
if (missing !== null) test.skip(`${title} (${missing})`, () => undefined);
else
  test(title, async (t) => {
    t.timeout(300_000);
    const folder = await mkdtemp(join(tmpdir(), "tandem-install-page-"));
    t.teardown(() => rm(folder, { recursive: true, force: true }));
    await cp(join(root, "manifests"), join(folder, "manifests"), { recursive: true });
    const files = await filesOf(join(root, "docs/install.md"));
    t.deepEqual([...files.keys()].sort(), ["my-cleanup/kustomization.yaml", "my-cluster/kustomization.yaml"]);
    for (const [name, text] of files) {
      await mkdir(join(folder, name, ".."), { recursive: true });
      await writeFile(join(folder, name), text);
    }
    const render = async (name: string) => {
      const text = await mustRun(["kubectl", "kustomize", join(folder, name)]);
      return parseAllDocuments(text).map((document) => document.toJS() as Workload);
    };
    const image = "registry.example.com/tandem:0.1.0";
    const cluster = await render("my-cluster");
    const named = (kind: string, name: string) => {
      const found = cluster.find((object) => object.kind === kind && object.metadata.name === name);
      return found?.spec.template.spec.containers[0];
    };
    const settingOf = (container: ReturnType<typeof named>, variable: string) =>
      container?.env?.find(({ name }) => name === variable)?.value;
    const [agent, operator] = [named("DaemonSet", "tandem-agent"), named("Deployment", "tandem-operator")];
    t.is(agent?.image, image);
    t.is(operator?.image, image);
    t.is(settingOf(agent, "TANDEM_API_SERVER"), "https://192.0.2.10:6443");
    t.true(agent?.env?.some(({ name }) => name === "TANDEM_NODE_NAME"));
    t.is(settingOf(operator, "TANDEM_OPERATOR_API_SERVER"), "https://192.0.2.10:6443");
    t.true(cluster.some(({ kind }) => kind === "PodDisruptionBudget"));
    const [cleanup] = await render("my-cleanup");
    const { containers = [], initContainers = [] } = cleanup?.spec.template.spec ?? {};
    t.deepEqual(
      [...initContainers, ...containers].map((container) => container.image),
      [image, image],
    );
  });

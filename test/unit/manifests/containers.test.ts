/** Every container of the manifests is one that the image's test can start: it takes what it knows, and nothing silently. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { flatten } from "../../support/kustomize.ts";
import { containerOf, type ContainerPlace } from "../../support/oci-container.ts";

const manifests = join(import.meta.dirname, "../../../manifests");

for (const folder of ["base", "cleanup"]) {
  test(`the containers of ${folder} become those of a runtime, with their environment`, async (t) => {
    const own = await mkdtemp(join(tmpdir(), "tandem-containers-"));
    t.teardown(() => rm(own, { recursive: true }));
    const objects = flatten(join(manifests, folder));
    const configMaps = objects.filter(({ kind }) => kind === "ConfigMap");
    const place: ContainerPlace = {
      nodeName: "node-1",
      netns: "/run/netns/none",
      rootfs: "/none",
      env: ["PATH=/bin"],
      cwd: "/",
      hostPath: (path) => join(own, path),
      configMaps: new Map(configMaps.map(({ metadata, data }) => [metadata.name, data as Record<string, string>])),
      serviceAccount: null,
      folder: own,
    };
    let started = 0;
    for (const object of objects) {
      if (object.kind !== "DaemonSet" && object.kind !== "Deployment") continue;
      const { containers } = (object.spec as { template: { spec: { containers: { name: string }[] } } }).template.spec;
      for (const { name } of containers) {
        const { spec } = await containerOf(object, name, place);
        const { env } = (spec as { process: { env: readonly string[] } }).process;
        t.true(env.includes("PATH=/bin"), name);
        if (name === "agent")
          for (const each of ["NODE_OPTIONS=--max-semi-space-size=2", "MALLOC_ARENA_MAX=1"])
            t.true(env.includes(each), each);
        started++;
      }
    }
    t.true(started > 0);
  });
}

/** A folder of manifests says the same whether the agent that reads it has always been there or was started anew in between. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import fc from "fast-check";
import { decode, encode } from "../../../src/agent/last-good-folder.ts";
import { type FolderLook, ManifestFolder, type ManifestVersion } from "../../../src/sources/files/manifest-folder.ts";
import { mergeReadings } from "../../../src/sources/files/read-objects.ts";

const files = ["a.yaml", "b.json"] as const;

/** An object of a version that says something, or has a mistake. */
const object = fc
  .record({
    name: fc.constantFrom("x", "y", "z"),
    kind: fc.constantFrom("Pod", "NetworkPolicy"),
    version: fc.nat(3),
    wrong: fc.boolean(),
  })
  .map(({ name, kind, version, wrong }) => ({
    apiVersion: kind === "Pod" ? "v1" : "networking.k8s.io/v1",
    kind,
    metadata: { name, labels: { version: wrong ? version : `v${version}` } },
    ...(kind === "Pod"
      ? { status: { podIPs: [{ ip: `10.0.0.${version}` }] } }
      : { spec: { podSelector: {}, ingress: [], version } }),
  }));

/** Of one file: gone, broken, or a list. */
const text = fc.oneof(
  { weight: 1, arbitrary: fc.constant(null) },
  { weight: 2, arbitrary: fc.constant("{ kind: [") },
  {
    weight: 4,
    arbitrary: fc
      .array(object, { maxLength: 3 })
      .map((items) => JSON.stringify({ apiVersion: "v1", kind: "List", items })),
  },
);
const step = fc.record({ file: fc.constantFrom(...files), text, restart: fc.boolean() });

const look = (folder: ManifestFolder) =>
  folder.look({ onFolder: () => undefined, readiness: () => "now", absence: () => "gone" });

function said({ readings, problems }: FolderLook) {
  const { rows, problems: ofObjects } = mergeReadings(readings);
  return { rows, problems: [...problems, ...ofObjects] };
}

/** What the next agent finds, in the form that it has on disk. */
function kept(versions: ReadonlyMap<string, ManifestVersion>): ReadonlyMap<string, ManifestVersion> {
  return new Map(
    [...versions].map(([key, version]) => {
      const entry = decode<ManifestVersion>(encode({ key, version }));
      if (entry === null) throw new Error(`${key} cannot be read again`);
      return [entry.key, entry.version];
    }),
  );
}

test("histories with restarts give the same rows and problems as without", async (t) => {
  t.timeout(300_000);
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 8 }), async (steps) => {
      const path = await mkdtemp(join(tmpdir(), "tandem-last-good-"));
      try {
        let now = 1_700_000_000_000;
        const clock = { now: () => now };
        const steady = new ManifestFolder(path, clock);
        let restarted = new ManifestFolder(path, clock);
        for (const { file, text, restart } of steps) {
          now += 1_000;
          if (text === null) await rm(join(path, file), { force: true });
          else await writeFile(join(path, file), text);
          const expected = await look(steady);
          const seen = await look(restarted);
          t.deepEqual(said(seen), said(expected));
          t.deepEqual(seen.versions, expected.versions);
          if (!restart) continue;
          restarted = new ManifestFolder(path, clock);
          restarted.restore(kept(seen.versions));
        }
      } finally {
        await rm(path, { recursive: true, force: true });
      }
    }),
    { numRuns: 150 },
  );
});

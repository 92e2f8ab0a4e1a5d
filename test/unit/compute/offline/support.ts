/** A cluster from manifests in a test, completed as offline commands do. */
import { completeObjects } from "../../../../src/compute/offline/complete.ts";
import { OfflineCluster } from "../../../../src/compute/offline/cluster.ts";
import { parseManifest } from "../../../../src/sources/files/parse-manifest.ts";
import { type ManifestObject, readObjects } from "../../../../src/sources/files/read-objects.ts";

export function objectsOf(text: string): readonly ManifestObject[] {
  const { objects, failure } = parseManifest(text, "test.yaml");
  if (failure !== null) throw new Error(failure.message);
  return objects;
}

export function clusterOf(text: string): OfflineCluster {
  const { rows, problems } = readObjects(completeObjects(objectsOf(text)).objects);
  const errors = problems.filter(({ severity }) => severity === "error");
  if (errors.length > 0) throw new Error(JSON.stringify(errors));
  return new OfflineCluster(rows);
}

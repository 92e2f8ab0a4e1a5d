/** Which labels make an identity by default is Cilium's list (its documentation, "Limiting Identity-Relevant Labels"), as policies are written for it. */
import test from "ava";
import { identityLabels } from "../../../../src/compute/identity/labels.ts";

const counts = ["app", "app.kubernetes.io/name", "app.kubernetes.io/version", "example.com/team", "tier"];

const telling = [
  "annotation.example.com/x",
  "apps.kubernetes.io/pod-index",
  "batch.kubernetes.io/controller-uid",
  "batch.kubernetes.io/job-completion-index",
  "controller-revision-hash",
  "controller-uid",
  "etcd_node",
  "failure-domain.beta.kubernetes.io/zone",
  "io.kubernetes.container.name",
  "k8s.io/cluster-service",
  "kubernetes.io/hostname",
  "pod-template-generation",
  "pod-template-hash",
  "statefulset.kubernetes.io/pod-name",
];

const pod = {
  namespace: "shop",
  serviceAccount: "default",
  labels: Object.fromEntries([...counts, ...telling].map((key) => [key, "x"])),
};

const own = (labels: ReadonlyMap<string, string>) =>
  [...labels.keys()].filter((key) => key in pod.labels).sort((a, b) => (a < b ? -1 : 1));

test("labels that tell one pod of a set from another, or come from the machine, make no identity", (t) => {
  t.deepEqual(own(identityLabels(pod, {}, new Set())), counts);
});

test("a label that a policy names counts, whichever it is", (t) => {
  for (const key of telling)
    t.deepEqual(
      own(identityLabels(pod, {}, new Set([key]))),
      [...counts, key].sort((a, b) => (a < b ? -1 : 1)),
    );
});

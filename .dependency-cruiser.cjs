/**
 * Who may import whom: ARCHITECTURE's folder table as rules. `scripts/layers.js` runs it and fails when it saw no modules.
 */
const allowed = {
  lib: [],
  model: ["lib"],
  config: ["lib", "model"],
  native: ["lib", "model"],
  kube: ["lib", "model"],
  sources: ["lib", "model", "config"],
  "sources/routes": ["lib", "model", "config", "native"],
  "sources/health": ["lib", "model", "config", "native"],
  "sources/kube": ["lib", "model", "config", "kube", "sources/files"],
  compute: ["lib", "model"],
  dns: ["lib", "model"],
  identities: ["lib", "model", "kube", "kube-objects", "compute/result.ts"],
  datapath: ["lib", "model", "native", "config", "compute/desired.ts", "compute/services/maglev.ts"],
  observe: ["lib", "model", "compute", "datapath", "api/dto.ts", "api/health-dto.ts", "api/metrics-dto.ts", "api/proxy-dto.ts"],
  cni: ["lib", "model", "native", "config", "api/dto.ts"],
  api: ["lib", "model", "native"],
  "kube-objects": ["lib", "model", "compute/policy"],
  publish: ["lib", "model", "kube", "kube-objects", "compute/result.ts", "compute/desired.ts"],
  agent: ["publish", "kube-objects", "lib", "model", "config", "native", "kube", "sources", "compute", "identities", "datapath", "dns", "observe", "cni", "api", "cleanup/foreign"],
  proxy: ["lib", "model", "config", "native", "api/proxy-dto.ts", "api/names-link.ts", "agent/daemon.ts", "agent/durable-file.ts", "agent/logging.ts", "agent/package.ts"],
  operator: ["lib", "model", "config", "kube", "kube-objects", "compute/identity/labels.ts", "compute/policy/parse.ts", "sources/files", "identities", "observe/conditions.ts", "agent/daemon.ts", "agent/logging.ts", "agent/package.ts", "agent/metrics-server.ts", "observe/metrics/exposition.ts"],
  cleanup: ["lib", "model", "config", "native", "datapath/devices.ts", "datapath/pins.ts", "datapath/service-routes.ts", "datapath/proxy-routes.ts", "datapath/tproxy-table.ts", "cni/install", "cni/wiring-plan.ts", "agent/lock.ts", "api/boot-file.ts"],
  cli: ["lib", "model", "config", "compute", "api", "lab", "native", "sources/files", "cni/install", "cleanup"],
  lab: ["lib", "model", "native", "config", "kube", "api", "sources/files", "compute"],
};

const escape = (text) => text.replaceAll(".", "\\.");

const layers = Object.entries(allowed).map(([folder, targets]) => ({
  name: `layer-${folder.replace("/", "-")}`,
  severity: "error",
  // Folders in a folder have rules of their own.
  from: { path: `^src/${folder}/`, pathNot: Object.keys(allowed).filter((each) => each.startsWith(`${folder}/`)).map((each) => `^src/${each}/`) },
  to: { path: "^src/", pathNot: [`^src/${folder}/`, ...targets.map((t) => `^src/${escape(t)}`)] },
}));

module.exports = {
  forbidden: [
    ...layers,
    { name: "no-cycles", severity: "error", from: {}, to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only"] } } },
    {
      name: "pure",
      comment: "lib, model and compute run anywhere: no node modules, no I/O",
      severity: "error",
      from: { path: "^src/(lib|model|compute)/" },
      to: { dependencyTypes: ["core"] },
    },
    {
      name: "no-tests-in-product",
      severity: "error",
      from: { path: "^src/" },
      to: { path: "^(test|bench|scripts)/" },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: { extensions: [".ts", ".js"] },
  },
};

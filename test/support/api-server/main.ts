/**
 * The API server of the tests as a program, in the place of a real one: `run DATADIR PORT` does what a script does that TANDEM_KUBE_APISERVER
 * names (src/lab/kube/source.ts). One process with the server, its controllers and a journal of all objects; the same DATADIR again has the
 * same objects and credentials, and nothing in its watch caches.
 *
 * Beside what server.ts lacks: StatefulSets, DaemonSets and Jobs have no controllers, nodes get no CIDRs, and whoever is let in may everything.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isIP } from "node:net";
import { systemClock } from "../../../src/lib/clock.ts";
import { messageOf } from "../../../src/lib/errors.ts";
import { BuiltInRules } from "./built-in-rules.ts";
import { accountControllers } from "./controllers/accounts.ts";
import { Cluster } from "./controllers/cluster.ts";
import { deployments } from "./controllers/deployments.ts";
import { endpointSlices } from "./controllers/endpoint-slices.ts";
import { garbage } from "./controllers/garbage.ts";
import { ControllerManager } from "./controllers/manager.ts";
import { namespaces } from "./controllers/namespaces.ts";
import { nodeTaints, podGarbage } from "./controllers/nodes.ts";
import { replicaSets } from "./controllers/replicasets.ts";
import { certificateName, credentialsOf } from "./credentials.ts";
import { keepJournal } from "./journal.ts";
import { publishKubernetesService } from "./kubernetes-service.ts";
import { TestApiServer } from "./server.ts";
import { nthAddress } from "./service-addresses.ts";
import { readSettings, type ServerSettings } from "./settings.ts";

const seeded = ["default", "kube-system", "kube-public", "kube-node-lease"];

/** @returns ends it */
async function start(settings: ServerSettings): Promise<() => Promise<void>> {
  const { folder, port, bind, names, advertise, serviceCidrs } = settings;
  const file = (name: string) => join(folder, name);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  rmSync(file("ready"), { force: true });
  const [cidr = ""] = serviceCidrs;
  const isWildcard = bind === "0.0.0.0" || bind === "::";
  const host = isWildcard ? "127.0.0.1" : bind;
  const { ca, cert, key, tokens } = credentialsOf({
    folder,
    url: `https://${isIP(host) === 6 ? `[${host}]` : host}:${port}`,
    names: [nthAddress(cidr, 1), host, ...(advertise === null ? [] : [advertise])].map(certificateName).concat(names),
  });
  const all = [
    ...accountControllers(ca),
    deployments,
    replicaSets,
    endpointSlices,
    namespaces,
    garbage,
    nodeTaints,
    podGarbage,
  ];
  const controllers = all.filter(({ name }) => settings.controllers(name));
  const server = new TestApiServer({
    tokens,
    tls: { ca, cert, key },
    listen: { host: bind, port },
    namespaces: seeded,
    rules: (store) =>
      new BuiltInRules(store, {
        ranges: { cidrs: serviceCidrs },
        collectsGarbage: settings.controllers("garbagecollector"),
        accounts: settings.controllers("serviceaccount"),
      }),
  });
  const closeJournal = keepJournal(file("journal"), server.store);
  const clusterOf = (agent: string) => new Cluster(server, agent);
  publishKubernetesService(clusterOf("kube-apiserver"), { advertise, port, cidr });
  const manager = new ControllerManager({
    store: server.store,
    clusterOf,
    controllers,
    clock: systemClock,
    report: (name, error) => process.stderr.write(`controller ${name}: ${messageOf(error)}\n`),
  });
  await server.start();
  manager.start();
  writeFileSync(file("ready"), "0\n");
  return async () => {
    rmSync(file("ready"), { force: true });
    manager.stop();
    await server.stop();
    closeJournal();
  };
}

try {
  const stop = await start(readSettings(process.argv.slice(2), process.env));
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.once(signal, () => void stop());
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exitCode = error instanceof RangeError ? 2 : 1;
}

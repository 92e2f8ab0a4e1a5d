/**
 * Answers load balancers that ask, at a port of each node, whether a service with `externalTrafficPolicy: Local` has backends there (core/v1,
 * ServiceSpec.healthCheckNodePort), as kube-proxy does: 200 or 503, how many, and their number as a weight. It says what the kernel
 * has, and nothing while no agent runs.
 */
import { createServer, type Server } from "node:http";
import type { DesiredHealthCheck } from "../compute/desired.ts";
import { messageOf } from "../lib/errors.ts";
import type { ConditionSink, Problem } from "../model/status.ts";

export interface ServiceHealthOptions {
  readonly conditions: ConditionSink;
  /** Where to listen; left out: all addresses of the node. */
  readonly host?: string;
}

interface Listening {
  readonly server: Server;
  check: DesiredHealthCheck;
}

/** A question and its answer are short; whoever keeps the connection longer is let go. */
const idleMs = 10_000;

export class ServiceHealth {
  readonly #options: ServiceHealthOptions;
  readonly #listening = new Map<number, Listening>();
  readonly #problems = new Map<number, Problem>();

  constructor(options: ServiceHealthOptions) {
    this.#options = options;
  }

  /** From now on these are asked for; a port that could not be had is tried again each time. */
  update(checks: readonly DesiredHealthCheck[]): void {
    const wanted = new Map(checks.map((check) => [check.port, check]));
    for (const [port, { server }] of this.#listening) {
      if (wanted.has(port)) continue;
      this.#listening.delete(port);
      end(server);
    }
    for (const port of this.#problems.keys()) if (!wanted.has(port)) this.#problems.delete(port);
    for (const [port, check] of wanted) {
      const there = this.#listening.get(port);
      if (there === undefined) this.#listen(check);
      else there.check = check;
    }
    this.#report();
  }

  async stop(): Promise<void> {
    const servers = [...this.#listening.values()].map(({ server }) => server);
    this.#listening.clear();
    await Promise.all(servers.map((server) => new Promise<void>((done) => end(server, done))));
  }

  #listen(check: DesiredHealthCheck): void {
    const { port } = check;
    const server = createServer({ keepAliveTimeout: idleMs, requestTimeout: idleMs }, (request, response) => {
      const { namespace, name, localEndpoints } = listening.check;
      request.resume();
      response.writeHead(localEndpoints > 0 ? 200 : 503, {
        "content-type": "application/json",
        "x-content-type-options": "nosniff",
        "x-load-balancing-endpoint-weight": String(localEndpoints),
      });
      response.end(
        `${JSON.stringify({ service: { namespace, name }, localEndpoints, serviceProxyHealthy: true }, null, "\t")}\n`,
      );
    });
    const listening: Listening = { server, check };
    this.#listening.set(port, listening);
    server.on("clientError", (_error, socket) => socket.destroy());
    server.on("error", (error) => {
      if (this.#listening.get(port) === listening) this.#listening.delete(port);
      this.#problems.set(port, notHad(listening.check, error));
      this.#report();
    });
    const { host } = this.#options;
    server.listen({ port, ...(host !== undefined && { host }) }, () => {
      if (this.#problems.delete(port)) this.#report();
    });
  }

  #report(): void {
    this.#options.conditions.report("service-health", [...this.#problems.values()]);
  }
}

function end(server: Server, done: () => void = () => undefined): void {
  server.close(() => done());
  server.closeAllConnections();
}

function notHad({ port, namespace, name }: DesiredHealthCheck, error: Error): Problem {
  return {
    code: "SERVICE_HEALTH_PORT",
    severity: "warning",
    object: `Service ${namespace}/${name}`,
    field: "spec.healthCheckNodePort",
    message: `port ${port} of this node cannot be listened at: ${messageOf(error)}`,
    remedy: "see who has it (ss -tlnp); load balancers take this node for one without backends. It is tried again",
  };
}

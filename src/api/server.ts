/**
 * The agent's door: HTTP on a unix socket that only its owner may open (0600). It answers questions and takes CNI requests; it knows
 * nothing itself. A request that fails is answered, never fatal.
 */
import { createServer, STATUS_CODES, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { CniRequest, EndpointOptionsDto, FqdnCleanedDto, MaglevTableDto } from "./dto.ts";
import { ApiError, errorBody } from "./errors.ts";
import { parseFilter, streamEvents } from "./event-stream.ts";
import { linkPath, linkProtocol } from "./proxy-dto.ts";
import type { AgentQueries, CniHandler, EndpointControl, EventFeed, NamesControl, ProxyControl } from "./queries.ts";
import { type Match, Router } from "./router.ts";
import { serviceQuestion, traceQuestion } from "./trace-question.ts";
import { sendJson, sendText } from "./send-json.ts";
import { claimSocket, listenPrivately } from "./socket-file.ts";

export interface ApiServerOptions {
  /** Path of the unix socket; a stale file there is replaced. */
  readonly socket: string;
  readonly queries: AgentQueries;
  readonly events: EventFeed;
  readonly cni: CniHandler;
  readonly endpoints: EndpointControl;
  readonly names: NamesControl;
  readonly proxy: ProxyControl;
  /** Uid of the process behind a connection, null where that cannot be known. */
  readonly peerUid: (socket: Socket) => number | null;
  /** Told of failures that are the agent's own. */
  readonly onError: (error: unknown, request: string) => void;
}

/** Bytes of a CNI request: the configuration and prevResult of a chain are a few KB. */
const bodyLimit = 1 << 20;
/** ms to read a whole request. */
const requestTimeoutMs = 10_000;
/** ms that requests under way may still take when the server stops. */
const graceMs = 1_000;

type Handler = (request: IncomingMessage, response: ServerResponse, match: Match<Handler>) => Promise<void>;

export class ApiServer {
  readonly #options: ApiServerOptions;
  readonly #server: Server;
  readonly #router: Router<Handler>;
  readonly #streams = new Set<() => void>();
  readonly #links = new Set<Socket>();

  constructor(options: ApiServerOptions) {
    this.#options = options;
    this.#router = new Router(this.#routes());
    this.#server = createServer({ requestTimeout: requestTimeoutMs, headersTimeout: requestTimeoutMs });
    this.#server.maxConnections = 512;
    this.#server.on("request", (request, response) => void this.#serve(request, response));
    this.#server.on("upgrade", (request: IncomingMessage, socket: Socket, head: Buffer) =>
      this.#upgrade(request, socket, head),
    );
    this.#server.on("clientError", (_error, socket) => socket.destroy());
  }

  /** @throws TandemError AGENT_RUNNING when another agent answers there, API_SOCKET when the path cannot be used */
  async start(): Promise<void> {
    await claimSocket(this.#options.socket);
    await listenPrivately(this.#server, this.#options.socket);
  }

  /** Ends streams, lets requests under way finish for a second, then cuts them; the socket file goes. */
  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const end of this.#streams) end();
    for (const link of this.#links) link.destroy();
    this.#server.closeIdleConnections();
    const cut = setTimeout(() => this.#server.closeAllConnections(), graceMs);
    await closed;
    clearTimeout(cut);
  }

  #routes() {
    const { queries, names, proxy } = this.#options;
    const get = (pattern: string, answer: (match: Match<Handler>) => unknown) => ({
      method: "GET" as const,
      pattern,
      handler: async (_request: IncomingMessage, response: ServerResponse, match: Match<Handler>) =>
        sendJson(response, await answer(match)),
    });
    return [
      get("/v1/status", () => queries.status()),
      get("/v1/metrics", () => queries.metrics()),
      get("/v1/version", () => queries.version()),
      get("/v1/endpoints", () => queries.endpoints()),
      get("/v1/endpoints/:id", ({ parameters: { id = "" } }) => queries.endpointDetails(this.#endpoint(id))),
      get("/v1/identities", () => queries.identities()),
      get("/v1/identities/:id", ({ parameters: { id = "" } }) =>
        one("identity", id, queries.identities(), (row) => String(row.id) === id),
      ),
      get("/v1/policies", () => queries.policies()),
      get("/v1/policy/trace", ({ query }) => queries.policyTrace(traceQuestion(query))),
      get("/v1/services", () => queries.services()),
      get("/v1/services/:service", ({ parameters: { service = "" } }) => queries.serviceDetails(service)),
      get("/v1/service/trace", ({ query }) => queries.serviceTrace(serviceQuestion(query))),
      get("/v1/routes", () => queries.routes()),
      get("/v1/health", () => queries.nodeHealth()),
      get("/v1/bgp/peers", () => queries.bgpPeers()),
      get("/v1/bgp/services", () => queries.bgpServices()),
      get("/v1/bgp/routes", ({ query }) => queries.bgpPaths(query.get("of") ?? "")),
      get("/v1/bpf/ct", () => queries.conntrack()),
      get("/v1/bpf/nat", () => queries.renamings()),
      get("/v1/bpf/ipcache", () => queries.ipcache()),
      get("/v1/bpf/policy", () => queries.policyMaps()),
      get("/v1/bpf/services", () => queries.serviceMaps()),
      get("/v1/bpf/maglev", async () => (await queries.maglevTables()).map(({ table: _, ...rest }) => rest)),
      get("/v1/bpf/maglev/:service", async ({ parameters: { service = "" } }) =>
        maglevOf(await queries.maglevTables(), service),
      ),
      {
        method: "GET" as const,
        pattern: "/v1/events",
        handler: async (_request: IncomingMessage, response: ServerResponse, { query }: Match<Handler>) =>
          this.#stream(query, response),
      },
      {
        method: "POST" as const,
        pattern: "/v1/endpoints/:id/config",
        handler: (request: IncomingMessage, response: ServerResponse, { parameters: { id = "" } }: Match<Handler>) =>
          this.#configure(id, request, response),
      },
      get("/v1/proxy", () => proxy.proxy()),
      get("/v1/proxy/rules", () => proxy.rules()),
      get("/v1/fqdn/cache", () => names.cache()),
      get("/v1/fqdn/names", () => names.names()),
      {
        method: "POST" as const,
        pattern: "/v1/fqdn/cache/clean",
        handler: (request: IncomingMessage, response: ServerResponse) => this.#cleanNames(request, response),
      },
      {
        method: "POST" as const,
        pattern: "/v1/cni",
        handler: (request: IncomingMessage, response: ServerResponse) => this.#cni(request, response),
      },
    ];
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const method = request.method ?? "";
    const target = request.url ?? "";
    try {
      const match = this.#router.find(method, target);
      await match.handler(request, response, match);
    } catch (error) {
      const { status, text } = errorBody(error);
      if (status >= 500) this.#options.onError(error, `${method} ${target}`);
      if (response.headersSent) response.destroy();
      else sendText(response, status, text);
    }
  }

  /** The proxy's conversation: HTTP ends with the answer. */
  #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const { proxy } = this.#options;
    // It may be gone already.
    socket.on("error", () => socket.destroy());
    try {
      if (request.url !== linkPath || request.headers.upgrade !== linkProtocol) {
        const remedy = "a proxy and an agent of one version understand each other";
        throw new ApiError(400, "BAD_REQUEST", `no conversation ${request.headers.upgrade} at ${request.url}`, remedy);
      }
      if (!proxy.isOn) throw new ApiError(403, "PROXY_OFF", "this agent wants no proxy", "set its l7Proxy to on");
      this.#requireRoot(request, "run tandem-proxy as root");
    } catch (error) {
      const { status, text } = errorBody(error);
      socket.end(
        `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(text)}\r\nconnection: close\r\n\r\n${text}`,
      );
      return;
    }
    this.#links.add(socket);
    socket.on("close", () => this.#links.delete(socket));
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: ${linkProtocol}\r\n\r\n`);
    proxy.accept(socket, head);
  }

  #stream(query: URLSearchParams, response: ServerResponse): void {
    const filter = parseFilter(query);
    response.writeHead(200, { "content-type": "application/x-ndjson" });
    response.flushHeaders();
    const end = streamEvents(this.#options.events, filter, response);
    this.#streams.add(end);
    response.on("close", () => this.#streams.delete(end));
  }

  #endpoint(id: string) {
    return one("endpoint", id, this.#options.queries.endpoints(), (row) => String(row.id) === id || row.pod === id);
  }

  async #configure(id: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#requireRoot(request, "run it as root");
    if (id.startsWith("node/")) {
      const remedy = "the node itself follows the agent's setting policyAuditMode";
      throw new ApiError(400, "BAD_REQUEST", `${id} is no pod, and has no options of its own`, remedy);
    }
    const options = endpointOptions(await readBody(request));
    const found = await this.#options.endpoints.configure(id, options);
    if (!found) throw notFound("endpoint", id);
    await sendJson(response, this.#endpoint(id));
  }

  async #cleanNames(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#requireRoot(request, "run it as root");
    const pattern = cleanPattern(await readBody(request));
    await sendJson(response, { forgotten: this.#options.names.clean(pattern) } satisfies FqdnCleanedDto);
  }

  /** @throws ApiError NOT_ROOT */
  #requireRoot(request: IncomingMessage, remedy: string): void {
    const uid = this.#options.peerUid(request.socket);
    if (uid !== null && uid !== 0) throw new ApiError(403, "NOT_ROOT", `uid ${uid} may not change pods`, remedy);
  }

  async #cni(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#requireRoot(request, "the container runtime runs the plugin as root");
    const gone = new AbortController();
    response.on("close", () => gone.abort());
    const body = cniRequest(await readBody(request));
    const answer = await this.#options.cni.handle(body, gone.signal);
    if (!response.destroyed) sendText(response, 200, JSON.stringify(answer));
  }
}

function one<T>(kind: string, id: string, rows: readonly T[], isIt: (row: T) => boolean): T {
  const found = rows.find(isIt);
  if (found !== undefined) return found;
  throw notFound(kind, id);
}

/** @param asked "namespace/name", "namespace/name:port" or a frontend's address and port */
function maglevOf(tables: readonly MaglevTableDto[], asked: string): readonly MaglevTableDto[] {
  const found = tables.filter(
    ({ service, frontend }) =>
      service === asked || service.slice(0, service.lastIndexOf(":")) === asked || frontend === asked,
  );
  if (found.length > 0) return found;
  const remedy =
    "those of which a hash chooses: tandem bpf maglev list; of the others chance does: tandem service list";
  throw new ApiError(404, "NOT_FOUND", `no hash chooses for a service ${asked} on this node`, remedy);
}

function notFound(kind: string, id: string): ApiError {
  const remedy = `list what there is: tandem ${kind} list`;
  return new ApiError(404, "NOT_FOUND", `there is no ${kind} ${id} on this node`, remedy);
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > bodyLimit) {
      throw new ApiError(413, "BODY_TOO_LARGE", `the request is larger than ${bodyLimit} bytes`, "send less");
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

const cniFields = ["command", "containerId", "netns", "ifname", "args", "path", "config"] as const;

function parseBody(text: string, wanted: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new ApiError(400, "BAD_REQUEST", "the body is not JSON", `send ${wanted}`);
  }
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return (typeof value === "object" && value !== null ? value : {}) as Readonly<Record<string, unknown>>;
}

function endpointOptions(text: string): EndpointOptionsDto {
  const { policyAuditMode, ...others } = fieldsOf(parseBody(text, "EndpointOptions"));
  const [unknown] = Object.keys(others);
  if (unknown !== undefined || (policyAuditMode !== null && typeof policyAuditMode !== "boolean")) {
    const message =
      unknown === undefined ? "policyAuditMode is no boolean and not null" : `there is no option ${unknown}`;
    throw new ApiError(400, "BAD_REQUEST", message, 'send {"policyAuditMode": true}, false or null');
  }
  return { policyAuditMode };
}

/** null: every name. */
function cleanPattern(text: string): string | null {
  const { pattern = null, ...others } = fieldsOf(parseBody(text, '{"pattern": null} or a pattern of names'));
  const [unknown] = Object.keys(others);
  if (unknown === undefined && (pattern === null || typeof pattern === "string")) return pattern;
  const message = unknown === undefined ? "pattern is no text" : `there is no field ${unknown}`;
  throw new ApiError(400, "BAD_REQUEST", message, 'send {"pattern": "*.example.com"}, or null for every name');
}

function cniRequest(text: string): CniRequest {
  const value = parseBody(text, "a CniRequest");
  const given = fieldsOf(value);
  const missing = cniFields.filter((field) => typeof given[field] !== "string");
  if (missing.length > 0) {
    const names = missing.join(", ");
    throw new ApiError(400, "BAD_REQUEST", `these fields are not strings: ${names}`, "send a whole CniRequest");
  }
  return value as CniRequest;
}

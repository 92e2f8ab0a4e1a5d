/**
 * What lives long on one connection, between pods: a WebSocket, a stream of HTTP/2, a call of gRPC, and a body of HTTP/1.
 *
 * `serve PORT_HTTP1 PORT_HTTP2 PORT_GRPC` echoes what comes on each.
 * `hold FILE PORT_HTTP1 PORT_HTTP2 PORT_GRPC HOST...` holds one of each kind to each host, with a numbered message on each every 50 ms. FILE has a line of JSON
 * about each: how many messages came back in their order, when the last one did, and when and how it ended. FILE.finish holds a host whose streams
 * are to come to their end as the protocol has it; FILE.end ends the process.
 * `call HOST PORT PATH` makes one call of gRPC, and prints its status and what it says.
 */
import { once } from "node:events";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import { isIPv6 } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import grpc from "@grpc/grpc-js";
import WebSocket, { WebSocketServer } from "ws";

const [mode, ...words] = process.argv.slice(2);
const bracketed = (host) => (isIPv6(host) ? `[${host}]` : host);
const bytes = (message) => message;
const method = (path, streams) => ({
  path,
  requestStream: streams,
  responseStream: streams,
  requestSerialize: bytes,
  requestDeserialize: bytes,
  responseSerialize: bytes,
  responseDeserialize: bytes,
});
const shop = {
  get: method("/shop.Cart/Get", false),
  drop: method("/shop.Cart/Drop", false),
  talk: method("/shop.Cart/Talk", true),
};

function serve(portHttp1, portHttp2, portGrpc) {
  const http1 = http.createServer((request, response) => {
    response.writeHead(200);
    request.pipe(response);
    request.on("error", () => response.destroy());
  });
  const sockets = new WebSocketServer({ server: http1 });
  sockets.on("connection", (socket) => {
    socket.on("message", (message) => socket.send(message));
    socket.on("error", () => socket.terminate());
  });
  http1.listen(portHttp1, "::");

  const streams = http2.createServer();
  streams.on("sessionError", () => undefined);
  streams.on("stream", (stream) => {
    stream.on("error", () => undefined);
    stream.respond({ ":status": 200 });
    stream.pipe(stream);
  });
  streams.listen(portHttp2, "::");

  const calls = new grpc.Server();
  calls.addService(shop, {
    get: (call, done) => done(null, Buffer.from(`peer ${call.getPeer()}`)),
    drop: (_, done) => done(null, Buffer.from("a denied call reached its server")),
    talk: (call) => {
      call.on("data", (message) => call.write(message));
      call.on("end", () => call.end());
      call.on("error", () => undefined);
    },
  });
  calls.bindAsync(`[::]:${portGrpc}`, grpc.ServerCredentials.createInsecure(), (error) => {
    if (error) throw error;
  });
}

/** Each kind: how it opens, and as what its messages go out. `came` takes what comes back, `ended` the reason of its end. */
const kinds = {
  websocket([host, port], came, ended) {
    const socket = new WebSocket(`ws://${bracketed(host)}:${port}/public/chat`);
    socket.on("message", (message) => came(String(message)));
    socket.on("error", () => socket.terminate());
    socket.on("close", (code) => ended(code === 1000 ? "whole" : `closed with ${code}`));
    return {
      send: (text) => socket.readyState === WebSocket.OPEN && socket.send(text),
      finish: () => socket.close(1000),
    };
  },
  body([host, port], came, ended) {
    const request = http.request({ host, port, path: "/public/body", method: "POST", agent: false });
    request.on("response", (response) => {
      response.on("data", (data) => came(String(data)));
      response.on("end", () => ended("whole"));
      response.on("error", (error) => ended(error.code));
    });
    request.on("error", (error) => ended(error.code));
    request.flushHeaders();
    return { send: (text) => request.write(text), finish: () => request.end() };
  },
  stream([host, , port], came, ended) {
    const session = http2.connect(`http://${bracketed(host)}:${port}`);
    session.on("error", (error) => ended(error.code));
    const stream = session.request({ ":path": "/public/stream", ":method": "POST" }, { endStream: false });
    stream.on("data", (data) => came(String(data)));
    stream.on("error", (error) => ended(error.code));
    stream.on("end", () => ended(stream.rstCode === 0 && stream.writableFinished ? "whole" : "broken off"));
    stream.on("close", () => session.close());
    return { send: (text) => stream.write(text), finish: () => stream.end() };
  },
  call([host, , , port], came, ended) {
    const Client = grpc.makeGenericClientConstructor(shop, "Cart");
    const client = new Client(`${bracketed(host)}:${port}`, grpc.credentials.createInsecure());
    const talk = client.makeBidiStreamRequest(shop.talk.path, bytes, bytes);
    talk.on("data", (data) => came(String(data)));
    talk.on("error", () => undefined);
    talk.on("status", ({ code }) => ended(code === 0 ? "whole" : `status ${code}`));
    return { send: (text) => talk.write(Buffer.from(text)), finish: () => talk.end() };
  },
};

/** One of a kind, and what became of it so far. Messages are lines, as bodies have no borders. */
function begin(kind, host, ports) {
  const state = { kind, host, sent: 0, came: 0, lastAt: 0, ended: null, endedAt: 0, wrong: null };
  let rest = "";
  const came = (text) => {
    rest += text;
    const lines = rest.split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line !== `${state.came}`) state.wrong ??= `${line} came as ${state.came}`;
      state.came++;
      state.lastAt = Date.now();
    }
  };
  const ended = (how) => {
    if (state.ended !== null) return;
    state.ended = how === "whole" && state.came < state.sent ? `${state.sent - state.came} messages are missing` : how;
    state.endedAt = Date.now();
  };
  const { send, finish } = kinds[kind]([host, ...ports], came, ended);
  let finished = false;
  return {
    state,
    send: () => {
      if (finished || state.ended !== null) return;
      if (send(`${state.sent}\n`) === false && kind === "websocket" && state.sent === 0) return;
      state.sent++;
    },
    finish: async () => {
      if (finished) return;
      finished = true;
      // Of a WebSocket what is on its way would be lost with its end.
      while (state.ended === null && state.came < state.sent) await sleep(5);
      finish();
    },
  };
}

async function hold(file, ...rest) {
  const [ports, hosts] = [rest.slice(0, 3), rest.slice(3)];
  const all = hosts.flatMap((host) => Object.keys(kinds).map((kind) => begin(kind, host, ports)));
  while (!existsSync(`${file}.end`)) {
    for (const each of all) each.send();
    const finishing = existsSync(`${file}.finish`) ? readFileSync(`${file}.finish`, "utf8") : null;
    for (const each of all) if (each.state.host === finishing) void each.finish();
    writeFileSync(`${file}.next`, JSON.stringify(all.map(({ state }) => state)));
    renameSync(`${file}.next`, file);
    await sleep(50);
  }
  process.exit(0);
}

async function call(host, port, path) {
  const Client = grpc.makeGenericClientConstructor(shop, "Cart");
  const client = new Client(`${bracketed(host)}:${port}`, grpc.credentials.createInsecure());
  const deadline = Date.now() + 20_000;
  const made = client.makeUnaryRequest(path, bytes, bytes, Buffer.from("cart"), { deadline }, (error, answer) => {
    process.stdout.write(error === null ? `0 ${answer}` : `${error.code} ${error.details}`);
  });
  await once(made, "status");
  client.close();
}

if (mode === "serve") serve(...words);
else if (mode === "hold") await hold(...words);
else await call(...words);

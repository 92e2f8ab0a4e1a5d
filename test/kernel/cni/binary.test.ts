/** The plugin as a file, and what it does with an agent that misbehaves. */
import { readFile, stat } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import test, { type ExecutionContext } from "ava";
import { pluginPath, TestNode } from "./node.ts";

const programHeaderDynamic = 2;
const programHeaderInterpreter = 3;

test("the plugin is one static file: no interpreter and no dynamic section, so it runs on any Linux of its processor", async (t) => {
  if (process.env.TANDEM_CNI !== undefined) {
    t.pass("skipped: a build with sanitizers is dynamic");
    return t.log("skipped: TANDEM_CNI names a build with sanitizers, which is dynamic");
  }
  const elf = await readFile(pluginPath());
  t.is(elf.toString("latin1", 0, 4), "\x7fELF");
  t.deepEqual([elf[4], elf[5]], [2, 1], "64 bits, little endian");
  const start = Number(elf.readBigUInt64LE(32));
  const [size, count] = [elf.readUInt16LE(54), elf.readUInt16LE(56)];
  t.true(count > 0);
  const types = Array.from({ length: count }, (_, i) => elf.readUInt32LE(start + i * size));
  t.false(types.includes(programHeaderInterpreter), "PT_INTERP");
  t.false(types.includes(programHeaderDynamic), "PT_DYNAMIC");
  t.true(elf.length < 2 << 20, `${elf.length} bytes`);
  t.is((await stat(pluginPath())).mode & 0o111, 0o111);
});

/** An agent that does with each connection what it is told to. */
async function agent(t: ExecutionContext, name: string, serve: (socket: Socket) => void): Promise<TestNode> {
  const node = await TestNode.create(name);
  t.teardown(() => node.remove());
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("data", () => serve(socket));
  });
  await new Promise<void>((resolve) => server.listen(node.socket, resolve));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return node;
}

const ok = JSON.stringify({ exitCode: 0, output: '{"cniVersion":"1.1.0","ips":[]}' });
const head = "HTTP/1.1 200 OK\r\n";

test("an agent that sends its answer byte by byte, in chunks, or without a length is understood", async (t) => {
  const chunked = [...ok].map((char) => `1\r\n${char}\r\n`).join("");
  const answers = {
    slow: `${head}Content-Length: ${ok.length}\r\n\r\n${ok}`,
    chunks: `${head}transfer-encoding: Chunked\r\n\r\n${chunked}0\r\n\r\n`,
    unbounded: `${head}Connection: close\r\n\r\n${ok}`,
  };
  for (const [name, answer] of Object.entries(answers)) {
    const node = await agent(t, name, (socket) => {
      const bytes = [...answer];
      const next = () => {
        if (socket.destroyed) return;
        const byte = bytes.shift();
        if (byte === undefined) socket.end();
        else socket.write(byte, () => setImmediate(next));
      };
      next();
    });
    const { code, output } = await node.call("ADD", "web", { timeoutSeconds: 60 });
    t.is(code, 0, JSON.stringify(output));
    t.deepEqual(output, { cniVersion: "1.1.0", ips: [] });
  }
});

test("an agent that trickles for ever, ends early, answers nonsense or without end is no success, and in time", async (t) => {
  const cases: readonly [string, (socket: Socket) => void, RegExp][] = [
    [
      "trickle",
      (socket) => {
        socket.write(`${head}Content-Length: 1000\r\n\r\n`);
        const timer = setInterval(() => socket.write("{"), 100);
        socket.once("close", () => clearInterval(timer));
      },
      /no answer in time/,
    ],
    ["early", (socket) => socket.end(`${head}Content-Length: 1000\r\n\r\n{`), /ended before the reply did/],
    ["mute", (socket) => socket.end(), /ended before the reply did/],
    ["nonsense", (socket) => socket.end("SSH-2.0-OpenSSH\r\n\r\n"), /ended before the reply did/],
    ["nojson", (socket) => socket.end(`${head}Content-Length: 2\r\n\r\n{]`), /\{\]/],
    ["shape", (socket) => socket.end(`${head}Content-Length: 14\r\n\r\n{"exitCode":0}`), /exitCode/],
    [
      "endless",
      (socket) => {
        socket.write(`${head}\r\n`);
        const pour = () => {
          while (!socket.destroyed && socket.write("x".repeat(65_536)));
        };
        socket.on("drain", pour);
        pour();
      },
      /larger than 1 MiB/,
    ],
    [
      "badchunk",
      (socket) => socket.end(`${head}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx\r\n`),
      /ended before|larger/,
    ],
  ];
  await Promise.all(
    cases.map(async ([name, serve, expected]) => {
      const node = await agent(t, name, serve);
      // Where an answer comes it may come late.
      const timeoutSeconds = expected.test("no answer in time") ? 2 : 60;
      const { code, output } = await node.call("ADD", "web", { timeoutSeconds });
      t.is(code, 1, name);
      t.is(output.code, 11, name);
      t.regex(output.details, expected, name);
    }),
  );
});

test("configurations of every version get errors in that version's shape; one that is too large or no JSON is told", async (t) => {
  const node = await TestNode.create("versions");
  t.teardown(() => node.remove());
  for (const cniVersion of ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]) {
    for (const command of ["ADD", "CHECK", "STATUS"]) {
      const { code, output } = await node.call(command, "web", { cniVersion });
      t.is(code, 1);
      t.is(output.cniVersion, cniVersion);
      t.is(output.code, command === "STATUS" ? 50 : 11);
      t.is(typeof output.msg, "string");
    }
    t.is((await node.call("VERSION", "web", { cniVersion })).output.cniVersion, cniVersion);
  }
  const large = await node.call("ADD", "web", { padding: "x".repeat(1 << 20) });
  t.is(large.output.code, 5);
  t.regex(large.output.details, /larger than 1 MiB/);
  for (const config of [{ timeoutSeconds: 0 }, { timeoutSeconds: "5" }, { socket: "relative" }, { stateDir: "" }]) {
    const { output } = await node.call("ADD", "web", config);
    t.is(output.code, 7, JSON.stringify(config));
  }
});

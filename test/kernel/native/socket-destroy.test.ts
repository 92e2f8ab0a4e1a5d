/** Ending sockets that are connected to somebody who is gone, in any namespace. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import test, { type ExecutionContext } from "ava";
import { sockReverseKey } from "../../../src/native/layouts.gen.ts";
import { failureOf, native } from "../../support/native.ts";
import { type Netns, pairOfNetns } from "../../support/netns.ts";

/** Connects UDP sockets, and when a line comes tells what each says to being used: one that was ended is not connected any more. */
const sockets = `
const dgram = require("dgram");
const made = JSON.parse(process.argv[1]).map(([type, host, port]) => {
  const socket = dgram.createSocket(type);
  socket.on("error", () => undefined);
  socket.connect(port, host);
  return socket;
});
setTimeout(() => undefined, 60000);
Promise.all(made.map((socket) => new Promise((done) => socket.once("connect", done)))).then(() => console.log("connected"));
process.stdin.once("data", async () => {
  const told = [];
  for (const socket of made) {
    told.push(await new Promise((done) => {
      try { socket.send("x", (error) => done(error ? error.code : "sent")); } catch (error) { done(error.code); }
    }));
  }
  console.log(JSON.stringify(told));
  process.exit(0);
});`;

type Peer = readonly ["udp4" | "udp6", string, number];

async function connected(t: ExecutionContext, space: Netns, peers: readonly Peer[]) {
  const child = spawn("nsenter", [`--net=${space.path}`, process.execPath, "-e", sockets, JSON.stringify(peers)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  t.teardown(() => child.kill("SIGKILL"));
  const lines = createInterface({ input: child.stdout });
  await once(lines, "line");
  return {
    /** What each socket says to being used. */
    use: async (): Promise<readonly string[]> => {
      child.stdin.write("now\n");
      const [line] = (await once(lines, "line")) as [string];
      return JSON.parse(line) as readonly string[];
    },
  };
}

/** SO_COOKIE of the UDP socket that is connected to this port, as ss tells it. */
async function cookieOf(space: Netns, port: number): Promise<bigint> {
  const shown = await space.exec("ss", "-Hunae", "dport", "=", `:${port}`);
  const cookie = /sk:([0-9a-f]+)/.exec(shown)?.[1];
  if (cookie === undefined) throw new Error(`no socket to port ${port}: ${shown}`);
  return BigInt(`0x${cookie}`);
}

const mapped = (hex: string) => Buffer.from(`00000000000000000000ffff${hex}`, "hex");
const v6 = Buffer.from("20010db8000000000000000000000002", "hex");
const peer4 = mapped("c0000202");

test("connected UDP sockets of a namespace are ended by cookie and peer, of both families, and no others", async (t) => {
  const { left } = await pairOfNetns(t);
  const { use } = await connected(t, left, [
    ["udp4", "192.0.2.2", 5001],
    ["udp4", "192.0.2.2", 5002],
    ["udp6", "2001:db8::2", 5003],
    ["udp6", "::ffff:192.0.2.2", 5004],
    ["udp4", "192.0.2.2", 5005],
  ]);
  const cookies = await Promise.all([5001, 5002, 5003, 5004, 5005].map((port) => cookieOf(left, port)));
  const [first = 0n, second = 0n, third = 0n, fourth = 0n, fifth = 0n] = cookies;
  const target = (cookie: bigint, address: Buffer, port: number) => ({ cookie, address, port });
  const shown = await native.connectedDatagramSockets(left.path);
  t.deepEqual(
    Array.from({ length: shown.length / sockReverseKey.size }, (_, at) => {
      const { cookie, backend, port } = sockReverseKey.decode(shown, at * sockReverseKey.size);
      return `${cookie} ${Buffer.from(backend).toString("hex")} ${port}`;
    }).sort(),
    cookies.map((cookie, at) => `${cookie} ${(at === 2 ? v6 : peer4).toString("hex")} ${5001 + at}`).sort(),
  );
  t.is(await native.destroyDatagramSockets(null, [target(first, peer4, 5001)]), 0, "it is in another namespace");
  t.is(
    await native.destroyDatagramSockets(left.path, [
      target(first, peer4, 5001),
      target(second, peer4, 5009),
      target(third, v6, 5003),
      target(fourth, peer4, 5004),
      target(fifth + 1_000_000n, peer4, 5005),
    ]),
    3,
  );
  t.deepEqual(await use(), ["EDESTADDRREQ", "sent", "EDESTADDRREQ", "EDESTADDRREQ", "sent"]);
});

test("nothing to end, a namespace that is gone, arguments that are none", async (t) => {
  const { left } = await pairOfNetns(t);
  t.is(await native.destroyDatagramSockets(left.path, []), 0);
  const gone = await failureOf(t, () => native.destroyDatagramSockets("/run/netns/tandem-none", []));
  t.is(gone.code, "ENOENT");
  for (const wrong of [
    { cookie: 1, address: v6, port: 1 },
    { cookie: -1n, address: v6, port: 1 },
    { cookie: 1n, address: v6.subarray(4), port: 1 },
    { cookie: 1n, address: v6, port: 65_536 },
  ]) {
    const refused = await failureOf(t, () => native.destroyDatagramSockets(left.path, [wrong as never]));
    t.is(refused.code, "EINVAL");
  }
});

import { spawn } from "node:child_process";
import { createSocket, type Socket as DatagramSocket } from "node:dgram";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { chmod } from "node:fs/promises";
import { createServer, connect, type Server, type Socket } from "node:net";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { failureOf, folder, native } from "../../support/native.ts";
import { type Netns, pairOfNetns } from "../../support/netns.ts";

const any4 = Buffer.alloc(4);
const any6 = Buffer.alloc(16);
const plain = {
  type: "tcp",
  address: any4,
  port: 0,
  transparent: false,
  mark: null,
  reusePort: false,
  listen: 16,
} as const;

/** Node's descriptor of a socket; it has no public name. */
function fdOf(socket: Socket | DatagramSocket): number {
  const { _handle: handle } = socket as unknown as { readonly _handle: { readonly fd: number } };
  return handle.fd;
}

/** Answers each line with what originalDestination says and the line itself. */
async function echoServer(t: ExecutionContext, fd: number): Promise<Server> {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.on("data", (data) => {
      const { address, port } = native.originalDestination(fdOf(socket));
      socket.end(`${address.toString("hex")} ${port} ${data}`);
    });
  });
  server.listen({ fd });
  await once(server, "listening");
  t.teardown(() => server.close());
  return server;
}

/** Connects from inside a namespace, says hello and returns the answer, or the error's code. */
async function talk(from: Netns, host: string, port: number): Promise<string> {
  const code = `const s=require("net").connect(${port},"${host}",()=>s.write("hello"));
    s.on("data",d=>process.stdout.write(d)).on("error",e=>process.stdout.write(e.code));s.setTimeout(60000,()=>{process.stdout.write("timeout");s.destroy()})`;
  return from.exec(process.execPath, "-e", code);
}

test("a listener made in another namespace serves node:net there, IPv4 and IPv6", async (t) => {
  const { left, right } = await pairOfNetns(t);
  const four = await native.openSocket(right.path, plain);
  await echoServer(t, four.fd);
  t.true(four.port > 0);
  t.is(await talk(left, "192.0.2.2", four.port), `c0000202 ${four.port} hello`);
  // the same port of the other family is another socket's
  const six = await native.openSocket(right.path, { ...plain, address: any6, port: four.port });
  await echoServer(t, six.fd);
  t.is(await talk(left, "2001:db8::2", four.port), `20010db8000000000000000000000002 ${four.port} hello`);
  t.is(await talk(left, "192.0.2.2", four.port), `c0000202 ${four.port} hello`);
  const own = connect(four.port, "127.0.0.1");
  const [error] = (await once(own, "error")) as [NodeJS.ErrnoException];
  t.is(error.code, "ECONNREFUSED", "not here");
});

test("a transparent listener takes connections to any address that is routed to it, and the original destination is known", async (t) => {
  const { left, right } = await pairOfNetns(t);
  await left.ip("route add 198.51.100.0/24 via 192.0.2.2");
  await left.ip("route add 2001:db8:5::/64 via 2001:db8::2");
  await right.ip("route add local 198.51.100.0/24 dev lo");
  await right.ip("route add local 2001:db8:5::/64 dev lo");
  const four = await native.openSocket(right.path, { ...plain, port: 10_001, transparent: true });
  const six = await native.openSocket(right.path, { ...plain, address: any6, port: 10_001, transparent: true });
  await echoServer(t, four.fd);
  await echoServer(t, six.fd);
  t.is(await talk(left, "198.51.100.77", 10_001), "c633644d 10001 hello");
  t.is(await talk(left, "2001:db8:5::77", 10_001), "20010db8000500000000000000000077 10001 hello");
});

test("an address that is nobody's is bound only with transparent; setTransparent gives it to a socket that exists", async (t) => {
  const { right } = await pairOfNetns(t);
  for (const [address, text] of [
    [Buffer.from([203, 0, 113, 9]), "203\\.0\\.113\\.9"],
    [Buffer.from("20010db8000900000000000000000009", "hex"), "2001:db8:9::9"],
  ] as const) {
    for (const type of ["tcp", "udp"] as const) {
      const options = { ...plain, type, address, listen: null };
      const refused = await failureOf(t, () => native.openSocket(right.path, options));
      t.regex(refused.message, new RegExp(`^bind ${type.toUpperCase()} ${text} port 0: EADDRNOTAVAIL`));
      const { fd } = await native.openSocket(right.path, { ...options, transparent: true });
      native.closeFd(fd);
    }
  }
  const { fd } = await native.openSocket(right.path, { ...plain, listen: null });
  native.setTransparent(fd);
  native.closeFd(fd);
});

test("a UDP socket made in another namespace serves node:dgram; reusePort shares a port, else it is in use", async (t) => {
  const { left, right } = await pairOfNetns(t);
  const options = { ...plain, type: "udp", listen: null, port: 5353 } as const;
  const opened = await native.openSocket(right.path, options);
  const socket = createSocket("udp4");
  t.teardown(() => socket.close());
  socket.on("message", (data, from) => socket.send(`${data} back`, from.port, from.address));
  socket.bind({ fd: opened.fd });
  const code = `const s=require("dgram").createSocket("udp4");s.on("message",d=>{process.stdout.write(d);s.close()});
    s.send("hello",5353,"192.0.2.2");setTimeout(()=>s.close(),60000).unref()`;
  t.is(await left.exec(process.execPath, "-e", code), "hello back");
  const shared = { ...options, type: "tcp", port: 6000, listen: 1 } as const;
  const first = await native.openSocket(right.path, { ...shared, reusePort: true });
  const second = await native.openSocket(right.path, { ...shared, reusePort: true });
  t.is(second.port, 6000);
  t.regex(
    (await failureOf(t, () => native.openSocket(right.path, shared))).message,
    /^bind TCP 0\.0\.0\.0 port 6000: EADDRINUSE/,
  );
  for (const { fd } of [first, second]) native.closeFd(fd);
});

test("marks of sockets choose their routes: given at the start, or set later", async (t) => {
  const { left } = await pairOfNetns(t);
  await left.ip("rule add fwmark 0x55 prohibit");
  const options = { ...plain, type: "udp", listen: null } as const;
  const send = async (fd: number, then: (socket: DatagramSocket) => void = () => undefined) => {
    const socket = createSocket("udp4");
    socket.bind({ fd });
    then(socket);
    const error = await new Promise<Error | null>((resolve) => socket.send("x", 9, "192.0.2.2", resolve));
    socket.close();
    return (error as NodeJS.ErrnoException | null)?.code ?? null;
  };
  t.is(await send((await native.openSocket(left.path, options)).fd), null);
  t.is(await send((await native.openSocket(left.path, { ...options, mark: 0x55 })).fd), "EACCES");
  t.is(
    await send((await native.openSocket(left.path, { ...options, mark: 0x55 })).fd, (s) =>
      native.setSocketMark(fdOf(s), 0),
    ),
    null,
  );
  t.is(
    await send((await native.openSocket(left.path, options)).fd, (s) => native.setSocketMark(fdOf(s), 0x55)),
    "EACCES",
  );
});

test("the peer of a unix socket is known by process and user", async (t) => {
  const path = join(await folder(t), "socket");
  await chmod(join(path, ".."), 0o755);
  const server = createServer();
  server.listen(path);
  await once(server, "listening");
  t.teardown(() => server.close());
  await chmod(path, 0o777);
  const accepted = async (start: () => unknown) => {
    const next = once(server, "connection") as Promise<[Socket]>;
    start();
    const [socket] = await next;
    const credentials = native.peerCredentials(fdOf(socket));
    socket.destroy();
    return credentials;
  };
  t.deepEqual(await accepted(() => connect(path).on("error", () => undefined)), { pid: process.pid, uid: 0, gid: 0 });
  let pid: number | undefined;
  const nobody = await accepted(() => {
    const code = `require("net").connect(${JSON.stringify(path)}).on("error",()=>0)`;
    ({ pid } = spawn(process.execPath, ["-e", code], { uid: 65_534, gid: 65_534, cwd: "/", stdio: "ignore" }));
  });
  t.deepEqual(nobody, { pid: pid ?? -1, uid: 65_534, gid: 65_534 });
});

test("descriptors that are no socket, of another family, closed or no numbers are refused by name", async (t) => {
  const file = openSync("/dev/null", "r");
  t.teardown(() => closeSync(file));
  const { fd } = await native.openSocket(null, { ...plain, address: Buffer.from([127, 0, 0, 1]), listen: null });
  const server = createServer().listen(join(await folder(t), "s"));
  await once(server, "listening");
  t.teardown(() => server.close());
  const unix = fdOf(server as unknown as Socket);
  // biome-ignore lint/suspicious/noExplicitAny: wrong on purpose
  const loose = native as any;
  const cases: readonly [() => unknown, RegExp][] = [
    [() => native.setSocketMark(file, 1), new RegExp(`^set SO_MARK on socket ${file}: ENOTSOCK`)],
    [() => native.setTransparent(file), new RegExp(`^set IP_TRANSPARENT on socket ${file}: ENOTSOCK`)],
    [() => native.originalDestination(file), new RegExp(`^read original destination of socket ${file}: ENOTSOCK`)],
    [() => native.originalDestination(unix), new RegExp(`^read original destination of socket ${unix}: EAFNOSUPPORT`)],
    [() => native.peerCredentials(fd), new RegExp(`^read credentials of socket ${fd}: EAFNOSUPPORT`)],
    [() => native.peerCredentials(1_000_000), /^read credentials of socket 1000000: EBADF/],
    [() => native.closeFd(1_000_000), /^close descriptor 1000000: EBADF/],
    [() => loose.closeFd(-1), /descriptor must be a whole number/],
    [() => loose.closeFd("1"), /descriptor must be a number/],
    [() => loose.setSocketMark(fd, 2 ** 32), /mark must be a whole number from 0 to 4294967295/],
    [() => native.openSocket(null, { ...plain, port: 70_000 }), /port must be a whole number from 0 to 65535/],
    [() => native.openSocket(null, { ...plain, address: Buffer.alloc(5) }), /address must be 4 or 16 bytes/],
    [() => loose.openSocket(null, { ...plain, type: "sctp" }), /type must be tcp or udp/],
    [() => native.openSocket(null, { ...plain, type: "udp" }), /^listen on UDP 0\.0\.0\.0 port 0: EOPNOTSUPP/],
  ];
  for (const [call, expected] of cases) t.regex((await failureOf(t, call)).message, expected);
  native.closeFd(fd);
});

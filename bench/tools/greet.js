// Listens on PORT of every address and greets whoever connects; prints "listening".
import { createServer } from "node:net";

createServer((socket) => socket.on("error", () => undefined).end("hello\n")).listen(Number(process.argv[2]), () =>
  console.log("listening"),
);

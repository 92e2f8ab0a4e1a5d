// WebSockets inside of pods: `serve PORT` echoes, and `ask URL COUNT` sends so many messages one after the other and prints {"echoed", "status"}; status:
// of an answer that is no upgrade, null if there was one.
import WebSocket, { WebSocketServer } from "ws";

const [kind, target = "", count = "1"] = process.argv.slice(2);

if (kind === "serve") {
  const server = new WebSocketServer({ host: "::", port: Number(target) });
  server.on("connection", (socket) => socket.on("message", (message) => socket.send(message)));
} else {
  const socket = new WebSocket(target);
  const seen = { echoed: 0, status: null };
  const message = (number) => `${number} ${"x".repeat(10_000)}`;
  socket.on("open", () => socket.send(message(0)));
  socket.on("message", (data) => {
    if (String(data) !== message(seen.echoed)) throw new Error("another message came back");
    seen.echoed++;
    if (seen.echoed < Number(count)) socket.send(message(seen.echoed));
    else socket.close();
  });
  socket.on("unexpected-response", (_, answer) => {
    seen.status = answer.statusCode;
    socket.terminate();
  });
  // What it came to is said at the end.
  socket.on("error", () => socket.terminate());
  socket.on("close", () => process.stdout.write(`${JSON.stringify(seen)}\n`));
}

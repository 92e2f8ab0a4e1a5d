// HTTP requests from inside of a pod, one after the other on a connection that is kept, until a file is there; then a line of JSON says what came back.
// A connection that ends between two requests is opened anew, as HTTP's clients do; one that ends within a request is a failure.
// Arguments: HOST PORT PATH FILE: FILE.begun is made after the first answer, FILE.end ends it.
import { existsSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";

const [host = "", port = "", path = "/", file = ""] = process.argv.slice(2);
const agent = new Agent({ keepAlive: true, maxSockets: 1 });
const counts = { sent: 0, status: {}, failed: [] };

/** What became of one request: its status, or an error. */
function ask(retries) {
  return new Promise((resolve) => {
    const asked = request({ host, port: Number(port), path, agent, timeout: 20_000 }, (answer) => {
      answer.resume();
      answer.on("end", () => resolve(String(answer.statusCode)));
      answer.on("error", (error) => resolve(error));
    });
    asked.on("timeout", () => asked.destroy(new Error("no answer")));
    asked.on("error", (error) => {
      // The server had closed the idle connection before it saw anything of this request.
      if (asked.reusedSocket && error.code === "ECONNRESET" && retries > 0) resolve(ask(retries - 1));
      else resolve(error);
    });
    asked.end();
  });
}

while (!existsSync(`${file}.end`)) {
  const outcome = await ask(1);
  counts.sent++;
  if (typeof outcome === "string") counts.status[outcome] = (counts.status[outcome] ?? 0) + 1;
  else counts.failed.push(String(outcome));
  if (counts.sent === 1) writeFileSync(`${file}.begun`, "");
  await new Promise((resolve) => setTimeout(resolve, 5));
}
agent.destroy();
process.stdout.write(`${JSON.stringify(counts)}\n`);

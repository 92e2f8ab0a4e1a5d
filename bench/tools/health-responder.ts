/** The other 1000 nodes of `bench health`: their addresses are all its namespace's, and it answers their TCP. Told a line, it says its CPU time in µs. */
import { loadNative } from "../../src/native/index.ts";

const [netns = "", port = "0"] = process.argv.slice(2);
loadNative().openProber(netns, Number(port), () => undefined);
process.stdin.on("data", () => {
  const { user, system } = process.cpuUsage();
  process.stdout.write(`${user + system}\n`);
});
process.stdin.on("end", () => process.exit(0));
process.stdout.write("ready\n");

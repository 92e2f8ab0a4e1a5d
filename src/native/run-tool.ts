/** Runs programs of the node that write its netfilter's rules: iptables, nft, ipset. */
import { execFile } from "node:child_process";

/** Runs a program, with text for its input. null: there is no such program. @throws Error with what it said when it fails */
export type RunTool = (program: string, words: readonly string[], input?: string) => Promise<string | null>;

/** Not the PATH of whoever calls: it may have other programs of these names. */
const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

export const runTool: RunTool = (program, words, input) =>
  new Promise((resolve, reject) => {
    const options = { env: { PATH: path }, maxBuffer: 1 << 30 };
    const child = execFile(program, [...words], options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else if (error.code === "ENOENT") resolve(null);
      else reject(new Error(`${program}: ${stderr.trim() || error.message}`));
    });
    // A program that is not there, or ends early, reads no input.
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(input ?? "");
  });

/** The steps of the demo: each does one thing by the command line, compares expected with seen, and prints both. */
import { execFile, spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { stripVTControlCharacters, styleText } from "node:util";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const command = [process.execPath, join(root, "bin/tandem.js")] as const;

interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function run(args: readonly string[], timeoutMs = 30_000): Promise<Result> {
  return new Promise((resolve) => {
    execFile(
      command[0],
      [command[1], ...args],
      { timeout: timeoutMs, maxBuffer: 16 << 20 },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === "number" ? error.code : 1;
        resolve({ code, stdout, stderr });
      },
    );
  });
}

interface Service {
  readonly service: string;
  readonly frontend: string;
}

/** A connection to try: who, to which service of the shop, and whether the policies let it through. */
interface Attempt {
  readonly from: string;
  readonly service: string;
  readonly family: 4 | 6;
  readonly allowedByPolicy: boolean;
  readonly why: string;
}

const attempts: readonly Attempt[] = [
  { from: "shop/web-0", service: "shop/api", family: 4, allowedByPolicy: true, why: "web may call api" },
  { from: "shop/web-0", service: "shop/api", family: 6, allowedByPolicy: true, why: "web may call api" },
  {
    from: "shop/api-0",
    service: "shop/database",
    family: 4,
    allowedByPolicy: true,
    why: "only api may reach the database",
  },
  {
    from: "shop/api-0",
    service: "shop/database",
    family: 6,
    allowedByPolicy: true,
    why: "only api may reach the database",
  },
  {
    from: "shop/web-0",
    service: "shop/database",
    family: 4,
    allowedByPolicy: false,
    why: "only api may reach the database",
  },
  {
    from: "shop/web-1",
    service: "shop/database",
    family: 6,
    allowedByPolicy: false,
    why: "only api may reach the database",
  },
];

/** Clients outside of the cluster reach pods directly: BGP brought their router the pod CIDRs. */
const outside: readonly {
  readonly to: string;
  readonly family: 4 | 6;
  readonly allowedByPolicy: boolean;
  readonly why: string;
}[] = [
  { to: "shop/web-0", family: 4, allowedByPolicy: true, why: "web is open to the outside" },
  { to: "shop/web-0", family: 6, allowedByPolicy: true, why: "web is open to the outside" },
  { to: "shop/database-0", family: 4, allowedByPolicy: false, why: "only api may reach the database" },
];

interface LabStatus {
  readonly pods: readonly {
    readonly namespace: string;
    readonly name: string;
    readonly node: string;
    readonly addresses: readonly string[];
    readonly ports?: readonly number[];
  }[];
}

const isFamily = (family: 4 | 6) => (address: string) => address.includes(":") === (family === 6);
/** Of a frontend as `service list` writes it: "10.0.0.1:80", "[fd00::1]:80". */
const isFrontendFamily = (family: 4 | 6) => (frontend: string) => frontend.startsWith("[") === (family === 6);
const bracketed = (address: string) => (address.includes(":") ? `[${address}]` : address);

export class Demo {
  unexpected = 0;
  readonly #lab: string;
  /** Of shop/api, once it was tried. */
  #frontend = "";

  constructor(lab: string) {
    this.#lab = lab;
  }

  async up(): Promise<void> {
    this.#say("A cluster on this machine: three nodes, a top-of-rack router, BGP between them, a shop");
    await this.#must(["lab", "down", "--name", this.#lab]);
    await this.#stream([
      "lab",
      "up",
      "--name",
      this.#lab,
      "--nodes",
      "3",
      "-f",
      join(root, "examples/shop/10-shop.yaml"),
    ]);
    await this.#stream(["lab", "status", "--name", this.#lab]);
  }

  async applyPolicies(): Promise<void> {
    this.#say("kubectl apply, so to speak: the shop's policies");
    await this.#stream(["lab", "apply", "--name", this.#lab, "-f", join(root, "examples/shop/20-policies.yaml")]);
    await this.#stream(["lab", "agent", "--name", this.#lab, "node-1", "--", "policy", "get"]);
  }

  /** Real connections, as a table of expected and seen. */
  async connections(title: string, withPolicy: boolean): Promise<void> {
    this.#say(title);
    const services = await this.#services();
    const status = await this.#status();
    const rows: string[][] = [["from", "to", "IP", "expected", "seen", "", "because"]];
    for (const attempt of attempts) {
      const frontend = services.find(
        (s) => s.service.startsWith(`${attempt.service}:`) && isFrontendFamily(attempt.family)(s.frontend),
      );
      if (frontend === undefined)
        throw new Error(`the lab has no IPv${attempt.family} address for service ${attempt.service}`);
      rows.push(await this.#try(attempt.from, `service ${attempt.service}`, frontend.frontend, attempt, withPolicy));
    }
    for (const attempt of outside) {
      const pod = status.pods.find((p) => `${p.namespace}/${p.name}` === attempt.to);
      const address = pod?.addresses.find(isFamily(attempt.family));
      if (pod === undefined || address === undefined)
        throw new Error(`the lab has no IPv${attempt.family} address for pod ${attempt.to}`);
      rows.push(
        await this.#try(
          "external/client",
          `pod ${attempt.to}`,
          `${bracketed(address)}:${pod.ports?.[0] ?? 8080}`,
          attempt,
          withPolicy,
        ),
      );
    }
    this.#table(rows);
  }

  async service(): Promise<void> {
    this.#say("A service spreads over its backends: 60 connections from shop/web-0 to shop/api");
    const service = (await this.#services()).find(
      (s) => s.service.startsWith("shop/api:") && isFrontendFamily(4)(s.frontend),
    );
    if (service === undefined) throw new Error("the lab has no IPv4 address for service shop/api");
    this.#frontend = service.frontend;
    const loop = `for i in $(seq 60); do curl -s -m 2 http://${service.frontend}/ | head -n 1; done`;
    const { stdout } = await run(["lab", "exec", "--name", this.#lab, "shop/web-0", "--", "sh", "-c", loop], 150_000);
    const counts = new Map<string, number>();
    for (const line of stdout.split("\n").filter((l) => l !== "")) {
      const name = /api-\d+/.exec(line)?.[0] ?? line;
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    const answered = [...counts.values()].reduce((a, b) => a + b, 0);
    const good = counts.size === 3 && answered === 60;
    if (!good) this.unexpected++;
    this.#table([["backend", "answers"], ...[...counts].sort().map(([name, n]) => [name, String(n)])]);
    console.log(this.#mark(good), `${answered} of 60 answered by ${counts.size} of 3 backends`);
  }

  async routes(): Promise<void> {
    this.#say("The routes that BGP brought, as node-1's agent sees them");
    await this.#stream(["lab", "agent", "--name", this.#lab, "node-1", "--", "routes"]);
    const { stdout } = await run(["lab", "agent", "--name", this.#lab, "node-1", "--", "routes", "--json"]);
    const routes = JSON.parse(stdout) as readonly { present: boolean; local: boolean }[];
    const good = routes.length === 6 && routes.every((r) => r.present || r.local);
    if (!good) this.unexpected++;
    console.log(this.#mark(good), `${routes.filter((r) => r.present || r.local).length} of 6 pod CIDRs have their way`);
  }

  /** A connection is kept busy, and new ones are opened, while the agents of both its ends are killed and come back. */
  async killedAgent(): Promise<void> {
    this.#say("kill -9 of every agent under load: new connections to shop/api, one each 50 ms, for 6 seconds");
    const service = (await this.#services()).find(
      (s) => s.service.startsWith("shop/api:") && isFrontendFamily(4)(s.frontend),
    );
    const loop = `ok=0; bad=0; end=$(( $(date +%s) + 6 )); while [ $(date +%s) -lt $end ]; do if curl -s -o /dev/null -m 1 http://${service?.frontend}/; then ok=$((ok+1)); else bad=$((bad+1)); fi; sleep 0.05; done; echo "$ok $bad"`;
    const load = run(["lab", "exec", "--name", this.#lab, "shop/web-0", "--", "sh", "-c", loop], 60_000);
    await new Promise((done) => setTimeout(done, 1500));
    for (const node of ["node-1", "node-2", "node-3"])
      await this.#must(["lab", "kill-agent", "--name", this.#lab, node]);
    await new Promise((done) => setTimeout(done, 1500));
    for (const node of ["node-1", "node-2", "node-3"])
      await this.#must(["lab", "restart-agent", "--name", this.#lab, node], 60_000);
    const [ok = 0, bad = 0] = (await load).stdout.trim().split(" ").map(Number);
    const good = ok > 20 && bad === 0;
    if (!good) this.unexpected++;
    console.log(this.#mark(good), `${ok} connections made, ${bad} refused or lost while no agent ran`);
  }

  sayWhatToTry(): void {
    const lab = this.#lab === "demo" ? "" : ` --name ${this.#lab}`;
    this.#say("The lab is still there. Try:");
    for (const line of [
      `npx tandem lab status${lab}`,
      `npx tandem lab exec${lab} shop/web-0 -- curl -s http://${this.#frontend}/`,
      `npx tandem lab agent${lab} node-1 -- status`,
      `npx tandem lab agent${lab} node-1 -- endpoint list`,
      `npx tandem lab agent${lab} node-1 -- monitor --type drop`,
      `npx tandem lab agent${lab} node-1 -- bpf ct list`,
      `npx tandem lab down${lab}`,
    ])
      console.log(`  ${line}`);
  }

  async down(): Promise<void> {
    await run(["lab", "down", "--name", this.#lab], 60_000);
  }

  async #try(
    from: string,
    label: string,
    frontend: string,
    attempt: { family: 4 | 6; allowedByPolicy: boolean; why: string },
    withPolicy: boolean,
  ): Promise<string[]> {
    const expected = !withPolicy || attempt.allowedByPolicy;
    const { code } = await run([
      "lab",
      "exec",
      "--name",
      this.#lab,
      from,
      "--",
      "curl",
      "-s",
      "-g",
      "-o",
      "/dev/null",
      "-m",
      "2",
      `http://${frontend}/`,
    ]);
    const seen = code === 0;
    const good = seen === expected;
    if (!good) this.unexpected++;
    const word = (connects: boolean) => (connects ? "connects" : "dropped");
    return [
      from,
      label,
      `IPv${attempt.family}`,
      word(expected),
      word(seen),
      this.#mark(good),
      withPolicy ? attempt.why : "",
    ];
  }

  async #services(): Promise<readonly Service[]> {
    const { stdout } = await this.#must([
      "lab",
      "agent",
      "--name",
      this.#lab,
      "node-1",
      "--",
      "service",
      "list",
      "--json",
    ]);
    return JSON.parse(stdout) as readonly Service[];
  }

  async #status(): Promise<LabStatus> {
    return JSON.parse((await this.#must(["lab", "status", "--name", this.#lab, "--json"])).stdout) as LabStatus;
  }

  async #must(args: readonly string[], timeoutMs?: number): Promise<Result> {
    const result = await run(args, timeoutMs);
    if (result.code !== 0)
      throw new Error(`tandem ${args.join(" ")} ended with ${result.code}: ${result.stderr || result.stdout}`);
    return result;
  }

  /** Shows the command and what it prints, as it prints it. */
  #stream(args: readonly string[]): Promise<void> {
    console.log(styleText("dim", `$ tandem ${args.map((a) => a.replace(`${root}/`, "")).join(" ")}`));
    return new Promise((resolve, reject) => {
      const child = spawn(command[0], [command[1], ...args], { stdio: ["ignore", "inherit", "inherit"] });
      child.once("error", reject);
      child.once("close", (code) =>
        code === 0 ? resolve() : reject(new Error(`tandem ${args.join(" ")} ended with ${code}`)),
      );
    });
  }

  #mark(good: boolean): string {
    return good ? styleText("green", "ok") : styleText("red", "UNEXPECTED");
  }

  #say(text: string): void {
    console.log(`\n${styleText("bold", text)}`);
  }

  #table(rows: readonly (readonly string[])[]): void {
    // Widths without colour codes, which take no room.
    const plain = stripVTControlCharacters;
    const widths = (rows[0] ?? []).map((_, c) => Math.max(...rows.map((row) => plain(row[c] ?? "").length)));
    for (const row of rows)
      console.log(
        `  ${row
          .map((cell, c) => cell + " ".repeat((widths[c] ?? 0) - plain(cell).length))
          .join("  ")
          .trimEnd()}`,
      );
  }
}

/** `tandem lab test`: cases in, labs for them, results out. */
import { LabError } from "../errors.ts";
import { Lab } from "../lab.ts";
import { type ConformanceCase, readCase } from "./case.ts";
import { CaseCluster } from "./case-cluster.ts";
import { overBothFamilies } from "./dual.ts";
import { Outcomes } from "./outcomes.ts";
import { Resolver } from "./resolver.ts";
import { type Patience, type ProbeResult, runCase } from "./run-case.ts";
import { Barrier } from "./settled.ts";
import { planSites, type SitedCases } from "./site.ts";
import { outside, Who } from "./who.ts";
import { OutsideHost } from "./wires.ts";

export interface ConformanceOptions {
  /** Folders of cases. */
  readonly folders: readonly string[];
  /** Of the lab; further ones, where cases contradict each other, get a number behind it. */
  readonly name: string;
  /** Send what labels and ports decide over IPv6 too. */
  readonly dual?: boolean;
  /** Leave the labs as they are after the last case. */
  readonly keep?: boolean;
  readonly patience?: Partial<Patience>;
  /** Further keys of every agent's configuration. */
  readonly agent?: Readonly<Record<string, unknown>>;
  readonly signal?: AbortSignal;
  readonly progress?: (text: string) => void;
  /** Told of each case when it is done. */
  readonly onCase?: (result: CaseResult, done: number, total: number) => void;
}

export interface CaseResult {
  readonly name: string;
  readonly description: string;
  /** From the change of the cluster to the last verdict. */
  readonly ms: number;
  /** Why the lab could not become the case's cluster; null: it did. */
  readonly error: string | null;
  readonly probes: readonly ProbeResult[];
}

/** Long enough for a packet's way through a busy machine many times over; a lost first packet comes again after 1 s. */
const defaultPatience: Patience = { denyMs: 400, allowMs: 20_000 };

/** Results in the order of the run. @throws LabError when cases cannot be read or no lab comes up */
export async function runConformance(options: ConformanceOptions): Promise<readonly CaseResult[]> {
  const cases: ConformanceCase[] = [];
  for (const folder of options.folders) {
    const one = await readCase(folder);
    cases.push(options.dual === true ? overBothFamilies(one) : one);
  }
  const sites = planSites(cases);
  const results: CaseResult[] = [];
  for (const [i, site] of sites.entries()) {
    const name = `${options.name}${i === 0 ? "" : i + 1}`;
    try {
      await runSite(name, site, options, (result) => {
        results.push(result);
        options.onCase?.(result, results.length, cases.length);
      });
    } finally {
      if (options.keep !== true) await Lab.down(name);
    }
  }
  return results;
}

async function runSite(
  name: string,
  { site, cases }: SitedCases,
  options: ConformanceOptions,
  done: (result: CaseResult) => void,
): Promise<void> {
  const { agent, progress, signal } = options;
  const patience = { ...defaultPatience, ...options.patience };
  const all = cases.flatMap(({ probes }) => probes);
  const isResolving = all.some(({ resolved }) => resolved.length > 0);
  const lab = await Lab.up({
    name,
    site,
    externals: [outside],
    proxies: isResolving || all.some(({ request }) => request !== null),
    agent: { ...(isResolving && { dnsMode: "proxy" }), ...agent },
    ...(progress && { progress }),
  });
  const host = new OutsideHost(lab.plan);
  await host.connect();
  const outcomes = new Outcomes();
  const barrier = new Barrier(lab.plan);
  const cluster = await CaseCluster.open(lab.plan, barrier, (event) => outcomes.take(event));
  const { probers } = cluster;
  const resolver = new Resolver(lab.plan, barrier, probers);
  try {
    for (const one of cases) {
      if (signal?.aborted) throw new LabError("LAB_ABORTED", "tandem lab test", "was interrupted", "");
      const start = performance.now();
      const who = new Who(one);
      let probes: readonly ProbeResult[];
      let error: string | null = null;
      try {
        await host.be(who.outsideAddresses(one.probes));
        await cluster.become({ ...one, policies: [...one.policies, ...resolver.policies(one)] });
        probes = await runCase(one, { who, probers, outcomes, resolver, patience });
      } catch (cause) {
        if (!(cause instanceof LabError)) throw cause;
        error = cause.message;
        probes = one.probes.map(withoutRun);
      }
      const ms = Math.round(performance.now() - start);
      done({ name: one.name, description: one.description, ms, error, probes });
    }
  } finally {
    await cluster.close();
  }
}

function withoutRun(probe: ProbeResult["probe"]): ProbeResult {
  return { probe, status: "failed", seen: "not tried: the cluster could not be made", ms: null };
}

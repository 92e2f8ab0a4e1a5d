/** HTTP/2 through the L7 engine with a hundred streams at once, against nghttpx and no proxy, each proxy on one core. */
import { isMissing, L7Lab, type Load, Loads, onCore, url } from "./l7-lab.ts";
import { printTable, type Row, sh } from "./support.ts";

export interface L7Http2Options {
  readonly rounds: number;
  readonly seconds: number;
}

const ports = { server: 18_180, tandem: 18_181, nghttpx: 18_182 } as const;
type Way = keyof typeof ports;

export async function benchL7Http2({ rounds, seconds }: L7Http2Options): Promise<readonly Row[]> {
  const tools = ["h2load", "nghttpx", "nginx", "taskset"];
  if (await isMissing("l7-http2", tools, "nghttp2-client, nghttp2-proxy, nginx-light")) return [];
  const lab = new L7Lab();
  try {
    await lab.nginx(
      1,
      "server",
      `server { listen ${ports.server} http2 reuseport; location /api { return 200 "hello"; } }`,
      ports.server,
    );
    await lab.engine(ports.tandem, ports.server, 1);
    // It has no rules for methods and headers: what it does is less.
    const nghttpx = [
      "nghttpx",
      "--conf=/dev/null",
      "--single-process",
      "--workers=1",
      "--log-level=FATAL",
      "--accesslog-file=/dev/null",
      "--errorlog-file=/dev/null",
      `--frontend=127.0.0.1,${ports.nghttpx};no-tls`,
      `--backend=127.0.0.1,${ports.server};;proto=h2`,
    ];
    await lab.start(onCore(0, nghttpx), ports.nghttpx);
    const h2load = async (way: Way) => {
      const time = `${Math.max(1, Math.round(seconds))}`;
      return readH2load(
        await sh(onCore(1, ["h2load", "-t1", "-c4", "-m100", "-D", time, "-H", "x-token: 42", url(ports[way])])),
      );
    };
    const loads = new Loads<Way>();
    await loads.measure(rounds, ["tandem", "nghttpx", "server"], h2load);
    const against = (other: Way, what: string): Row => ({
      what,
      figure: loads.rate("tandem"),
      baseline: loads.rate(other),
      ratio: loads.ratio("tandem", other),
      aim: "-",
    });
    const rows = [
      against("nghttpx", "requests, against nghttpx (without rules)"),
      against("server", "requests, against no proxy"),
      {
        what: "mean latency at full load, against nghttpx",
        figure: `${loads.of("tandem", "p50").toFixed(0)} us`,
        baseline: `${loads.of("nghttpx", "p50").toFixed(0)} us`,
        ratio: loads.of("nghttpx", "p50") / loads.of("tandem", "p50"),
        aim: "-",
      },
    ];
    printTable("HTTP/2, 4 connections of 100 streams, one core a proxy", rows);
    return rows;
  } finally {
    lab.stop();
  }
}

/** "finished in 1.00s, 1234.50 req/s, ...", "time for request: min max mean sd", as "210us", "1.2ms". */
function readH2load(text: string): Load {
  const rate = Number(/finished in [^,]+, ([\d.]+) req\/s/.exec(text)?.[1]);
  const bad = /(\d+) 3xx, (\d+) 4xx, (\d+) 5xx/.exec(text)?.slice(1).map(Number) ?? [1];
  if (!(rate > 0) || bad.some((count) => count > 0)) throw new Error(`not all requests were answered:\n${text}`);
  const [, max, mean] = /time for request:\s+\S+\s+(\S+)\s+(\S+)/.exec(text) ?? [];
  return { rate, p50: microseconds(mean), p99: microseconds(max) };
}

function microseconds(text = ""): number {
  const [, number, unit] = /^([\d.]+)(us|ms|s)$/.exec(text) ?? [];
  return Number(number) * (unit === "s" ? 1e6 : unit === "ms" ? 1e3 : 1);
}

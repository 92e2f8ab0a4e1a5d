/** `tandem service get` and `trace`, as people and programs see them. */
import test from "ava";
import { ApiError } from "../../../src/api/errors.ts";
import { CliError } from "../../../src/cli/errors.ts";
import { fakeAgent, serviceDetails } from "../../support/fake-agent.ts";
import { runCli } from "../../support/run-cli.ts";

const run = async (...argv: readonly string[]) => (await runCli(argv)).output;

test("service get: policies, addresses, endpoints with their state, problems with their remedy", async (t) => {
  const { socket } = await fakeAgent(t);
  const output = await run("service", "get", "shop/web", "--socket", socket);
  t.regex(
    output,
    /^shop\/web: LoadBalancer\ntraffic policy: inside Cluster, outside Local\nsession affinity: by client, 60 s\n/,
  );
  t.regex(output, /allow 192\.0\.2\.0\/24\nhealth check node port: 32000\n/);
  t.regex(output, /10\.96\.0\.1:80\/TCP +ClusterIP +2 +- +7 inside, 3 outside +yes\n/);
  t.regex(output, /10\.96\.0\.1 +ClusterIP +nobody known +-\n/);
  t.regex(
    output,
    /203\.0\.113\.10 +LoadBalancer +node-1 \(this one\) +not 80\/TCP\n203\.0\.113\.11 +LoadBalancer +node-2 +yes\n/,
  );
  t.regex(
    output,
    /10\.1\.0\.2:8080\/TCP +80 +ready +node-1 \(this one\) +-\n10\.2\.0\.3:8080\/TCP +80 +not ready +- +-\n/,
  );
  t.regex(output, /error SERVICE_NODE_PORT: spec\.ports\[0\]\.nodePort: 22 is not served\n {2}use another\n$/);
  t.deepEqual(
    JSON.parse(await run("service", "get", "shop/web", "--json", "--socket", socket)),
    serviceDetails("shop/web"),
  );
});

test("service trace: endpoints with why not, what the kernel has, what a new connection gets", async (t) => {
  const { socket } = await fakeAgent(t);
  const output = await run("service", "trace", "shop/cart", "10.96.0.1:80", "--socket", socket);
  t.regex(
    output,
    /^shop\/cart \(10\.1\.0\.9\) -> 10\.96\.0\.1:80\/TCP\nClusterIP of service shop\/web\nclient on this node: at the socket/,
  );
  t.regex(output, /10\.1\.0\.2:8080 +ready +node-1 \(this one\) +- +yes +ALLOW\n/);
  t.regex(output, /10\.2\.0\.3:8080 +not ready +- +- +it is not ready +-\n/);
  t.regex(output, /in the kernel: flow from port 40000 \(service\) -> 10\.1\.0\.2:8080, used 3 s ago\n/);
  t.regex(
    output,
    /a new connection gets: A BACKEND, the only one\nby what node-1 knows at revision 5; all of it is in the kernel\n$/,
  );
  const json = JSON.parse(await run("service", "trace", "shop/cart", "10.96.0.1:80", "--json", "--socket", socket));
  t.is(json.choices[0].backend, "10.1.0.2:8080");
});

test("an end that nothing can be said about is told without the request", async (t) => {
  const refuse = () => {
    throw new ApiError(400, "TRACE_END", "client shop/x: there is no such pod", "did you mean shop/y?");
  };
  const { socket } = await fakeAgent(t, { queries: { serviceTrace: async () => refuse() } });
  const error = await t.throwsAsync(run("service", "trace", "shop/x", "10.96.0.1:80", "--socket", socket));
  t.true(error instanceof CliError);
  t.is(error.message, "client shop/x: there is no such pod");
});

/** Chained plugins as a runtime calls them: what tandem-cni answers is what the next one gets, and what all get does not disturb it. */
import test from "ava";
import { conflistText } from "../../../src/cni/install/conflist.ts";
import { TestNode } from "./node.ts";

const portMappings = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }];

interface Plugin {
  readonly type: string;
  readonly capabilities?: Readonly<Record<string, true>>;
}

for (const cniVersion of ["0.4.0", "1.0.0", "1.1.0"]) {
  test(`the installed list of version ${cniVersion} asks for portMappings, and tandem-cni gives portmap what it needs`, async (t) => {
    const node = await TestNode.create(`chain${cniVersion.replaceAll(".", "")}`);
    t.teardown(() => node.remove());
    await node.startAgent();
    await node.addPod("web");
    const { socket, stateDir } = node;
    const text = conflistText({ cniVersion, socket, stateDir, chained: ["portmap"] });
    const list = JSON.parse(text) as { readonly plugins: readonly Plugin[] };
    const [own, portmap] = list.plugins;
    t.deepEqual(portmap, { type: "portmap", capabilities: { portMappings: true } });
    t.is(own?.type, "tandem-cni");
    t.is(own?.capabilities, undefined, "a runtime gives port mappings to those that ask");

    const config = { ...own, cniVersion, timeoutSeconds: 600 };
    const { code, output } = await node.call("ADD", "web", config);
    t.is(code, 0, JSON.stringify(output));
    // What portmap reads of prevResult: the version it was asked in, and addresses of a device inside the sandbox.
    t.is(output.cniVersion, cniVersion);
    for (const ip of output.ips) t.is(output.interfaces[ip.interface].sandbox, `/run/netns/${node.netns}-web`);

    // At CHECK and DEL each plugin gets the result of the whole chain; some runtimes pass all they have to each.
    const after = { ...config, prevResult: output, runtimeConfig: { portMappings } };
    const check = await node.call("CHECK", "web", after);
    t.is(check.code, 0, JSON.stringify(check.output));
    t.is((await node.call("DEL", "web", after)).code, 0);
    t.deepEqual(await node.ipJson(node.netns, "route show proto 158"), []);
  });
}

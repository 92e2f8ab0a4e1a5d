/** When the agent copies connections of the kernel's conntrack for its programs, and what becomes of the copy. */
import test from "ava";
import { KernelFlows } from "../../../src/datapath/kernel-flows.ts";
import { kernelFlowKey } from "../../../src/native/layouts.gen.ts";
import { FakeKernel } from "./fake-kernel.ts";

const key = (port: number) =>
  kernelFlowKey.encode({
    source: Buffer.alloc(16, 1),
    destination: Buffer.alloc(16, 2),
    sourcePort: port,
    destinationPort: 80,
    protocol: 6,
  });

const copied = (kernel: FakeKernel) =>
  [...kernel.entries("kernel_flow").keys()]
    .map((text) => kernelFlowKey.decode(Buffer.from(text, "latin1")).sourcePort)
    .sort();

test("the copy follows the kernel, and stays when that cannot be read", async (t) => {
  const kernel = new FakeKernel();
  const flows = new KernelFlows(kernel.native, kernel.map("kernel_flow"));
  kernel.redirected = [key(1), key(2)];
  await flows.copy();
  t.deepEqual(copied(kernel), [1, 2]);
  kernel.redirected = [key(2), key(3)];
  await flows.copy();
  t.deepEqual(copied(kernel), [2, 3]);
  t.deepEqual(flows.problems, []);
  kernel.redirected = null;
  await flows.copy();
  t.deepEqual(copied(kernel), [2, 3]);
  t.like(flows.problems[0], { code: "KERNEL_FLOWS_UNKNOWN", object: "nf_conntrack", severity: "warning" });
  kernel.redirected = [];
  await flows.copy();
  t.deepEqual(copied(kernel), []);
  t.deepEqual(flows.problems, []);
});

test("what an agent before it copied is taken over", async (t) => {
  const kernel = new FakeKernel();
  kernel.redirected = [key(1), key(2)];
  await new KernelFlows(kernel.native, kernel.map("kernel_flow")).copy();
  const next = new KernelFlows(kernel.native, kernel.map("kernel_flow"));
  await next.table.read();
  kernel.redirected = [key(2)];
  await next.copy();
  t.deepEqual(copied(kernel), [2]);
});

import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { Pins } from "../../../src/datapath/pins.ts";
import { programDigest, ProgramPins } from "../../../src/datapath/program-pins.ts";
import { u32 } from "../../../src/native/layout.ts";

test("the digest is of bytes, settings and maps, in whatever order the maps come", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "tandem-programs-"));
  t.teardown(() => rm(folder, { recursive: true }));
  const path = join(folder, "pod.bpf.o");
  await writeFile(path, "object");
  const rodata = [{ variable: "config_timeout_icmp", bytes: u32.encode(60) }];
  const maps = [
    { name: "ct4", id: 7 },
    { name: "ct6", id: 8 },
  ];
  const digest = await programDigest({ path, rodata, maps });
  t.regex(digest, /^[0-9a-f]{16}$/);
  t.is(await programDigest({ path, rodata, maps: maps.toReversed() }), digest);
  const others = [
    await programDigest({ path, rodata: [{ variable: "config_timeout_icmp", bytes: u32.encode(61) }], maps }),
    await programDigest({ path, rodata, maps: [{ name: "ct4", id: 9 }, ...maps.slice(1)] }),
  ];
  await writeFile(path, "another object");
  others.push(await programDigest({ path, rodata, maps }));
  t.is(new Set([digest, ...others]).size, 4);
});

test("programs are opened only when all are there; what a crash left half is replaced, what nobody uses goes", async (t) => {
  const root = await mkdtemp(join(tmpdir(), "tandem-programs-"));
  t.teardown(() => rm(root, { recursive: true }));
  const files = {
    mountBpffs: async () => "present" as const,
    pinProgram: (handle: number, path: string) => writeFile(path, String(handle), { flag: "wx" }),
    unpin: (path: string) => rm(path),
    openPrograms: async (programs: readonly { readonly name: string; readonly path: string }[]) => ({
      object: 1,
      programs: programs.map(({ name }, handle) => ({ name, handle, id: handle, type: 3, instructions: 1 })),
      maps: [],
    }),
  };
  const pins = new Pins(root);
  await pins.prepare(files);
  const programs = ["from_pod", "to_pod"];
  const handles = programs.map((name, handle) => ({ name, handle }));
  await writeFile(pins.programPath("from_pod-old"), "");
  await writeFile(pins.programPath("from_pod-new"), "of a start that ended in between");

  const first = new ProgramPins(files, pins);
  t.is(await first.open(programs, "new"), null);
  await first.keep(handles, "new");
  await first.removeOthers();
  t.deepEqual((await readdir(pins.programs)).sort(), ["from_pod-new", "to_pod-new"]);

  const second = new ProgramPins(files, pins);
  t.deepEqual(
    (await second.open(programs, "new"))?.programs.map(({ name }) => name),
    programs,
  );
  await second.removeOthers();
  t.is((await readdir(pins.programs)).length, 2);
});

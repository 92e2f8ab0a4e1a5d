/** docs/policy.md as the code says it: its table of fields, and what its commands really print. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createProgram } from "../src/cli/program.ts";
import { policyFieldsTable } from "./policy-fields.ts";

export const page = "docs/policy.md";

/** A file that the page needs, with the text that it should have. */
export interface Rendered {
  readonly path: string;
  readonly text: string;
}

const fields = /(<!-- fields: generated -->)[\s\S]*?(<!-- end of fields -->)/;
const console = /```console\n\$ tandem (policy [^\n]*)\n[\s\S]*?```/g;

/**
 * @param root of the repository: commands of the page run there
 * @returns the page, and the pictures that its commands draw
 */
export async function renderPolicyPage(root: string): Promise<readonly Rendered[]> {
  const written = readFileSync(join(root, page), "utf8");
  if (!fields.test(written)) throw new Error(`${page}: the marks around the table of fields are missing`);
  const pictures: Rendered[] = [];
  let text = written.replace(
    fields,
    (_, open: string, close: string) => `${open}\n\n${policyFieldsTable()}\n\n${close}`,
  );
  for (const [block, command = ""] of written.matchAll(console)) {
    const output = await run(root, command, pictures);
    text = text.replace(block, () => `\`\`\`console\n$ tandem ${command}\n${output}\`\`\``);
  }
  return [{ path: page, text }, ...pictures];
}

async function run(root: string, command: string, pictures: Rendered[]): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "tandem-page-"));
  const before = process.cwd();
  let output = "";
  try {
    process.chdir(root);
    const drawing = join(folder, "picture.svg");
    const [, picture] = /--svg (\S+)/.exec(command) ?? [];
    const argv = command.split(" ").map((word) => (word === picture ? drawing : word));
    const program = await createProgram(
      {
        write: (text) => {
          output += text;
        },
        note: () => undefined,
        setExitCode: () => undefined,
        env: {},
        colour: false,
        signal: new AbortController().signal,
      },
      argv,
    );
    await program.parseAsync(argv, { from: "user" });
    if (picture !== undefined) pictures.push({ path: picture, text: readFileSync(drawing, "utf8") });
  } finally {
    process.chdir(before);
    rmSync(folder, { recursive: true, force: true });
  }
  return output;
}

/** Brings docs/policy.md up to date with the code: the table of fields, and the output of its commands. --check compares. */
import { finish, root } from "./generated.ts";
import { renderPolicyPage } from "./policy-page.ts";

for (const { path, text } of await renderPolicyPage(root)) finish("policy-page", path, text);

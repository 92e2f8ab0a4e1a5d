/** What kube-proxy and kube-router leave on a node that changes over: found, told, and taken away. */
export type { Owner } from "./chains.ts";
export { type ForeignStep, removeForeign } from "./remove.ts";
export { ForeignWatch } from "./report.ts";

/** What Tandem leaves on a node, and its removal. */
export { type CleanupStep, cleanUpNode } from "./node-cleanup.ts";
export { type ForeignStep, type Owner, removeForeign } from "./foreign/index.ts";

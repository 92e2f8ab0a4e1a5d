/** The datapath's face: the class that owns the kernel, and what it tells of it. */
export { Datapath, type DatapathOptions } from "./datapath.ts";
export type * from "./report.ts";
export type { Servability } from "./servability.ts";

/** Address management and ADD, DEL, CHECK, GC and STATUS behind the agent's socket. */
export { CniError, errorOutput } from "./errors.ts";
export { type CniOptions, CniService } from "./service.ts";

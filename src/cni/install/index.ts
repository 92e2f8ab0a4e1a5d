/** The plugin and its configuration in the runtime's folders. */
export { Installation, type InstallationState, pluginOf } from "./installation.ts";
export { InstallationKeeper } from "./keeper.ts";

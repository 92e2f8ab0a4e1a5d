/** Names that two tests still use for an API server that is real only where one is given. */
export {
  type ApiServerProcess as RealApiServer,
  apiServerScript,
  freePorts,
  startApiServer as startRealApiServer,
  withApiServer as withRealApiServer,
  withoutApiServer,
} from "./api-server-process.ts";

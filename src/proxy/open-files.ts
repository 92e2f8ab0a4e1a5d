/** Whether the process may open as many files as its settings promise connections. */

/** Of a connection: the client's socket and the server's. Pipes of long bodies come on top, and are done without where there is no room. */
const perConnection = 2;
/** Maps, listeners, loops, logs, and sockets of DNS: the least that has to be left. */
const others = 1_024;

/**
 * @param limits what /proc/self/limits says (proc(5))
 * @returns what to tell who installed it; null: there is room
 */
export function openFilesWarning(limits: string, maxConnections: number): string | null {
  // "Max open files            1024                 1048576              files": node has raised the first to the second.
  const most = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY);
  const wanted = maxConnections * perConnection + others;
  if (most >= wanted) return null;
  const room = Math.max(0, Math.floor((most - others) / perConnection));
  return `only ${most} files may be open here, enough for some ${room} connections, while maxConnections is ${maxConnections}: further ones are refused`;
}

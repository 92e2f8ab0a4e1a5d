/** Whether a file system that is mounted here is the node's, or ends with this container. */

/**
 * Mount propagation (mount_namespaces(7)): what is mounted below a mount that only follows another one, as HostToContainer makes them, stays in this
 * process's mount namespace.
 * @param mountinfo text of /proc/self/mountinfo
 */
export function staysInContainer(mountinfo: string, path: string): boolean {
  let point = "";
  let propagation: readonly string[] = [];
  for (const line of mountinfo.split("\n")) {
    const [, , , , encoded, , ...rest] = line.split(" ");
    if (encoded === undefined) continue;
    const there = encoded.replace(/\\([0-7]{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    const holds = there === "/" || path === there || path.startsWith(`${there}/`);
    // Of several at one point the last one is on top.
    if (!holds || there.length < point.length) continue;
    point = there;
    propagation = rest.slice(0, rest.indexOf("-"));
  }
  const has = (tag: string) => propagation.some((field) => field.startsWith(`${tag}:`));
  return has("master") && !has("shared");
}

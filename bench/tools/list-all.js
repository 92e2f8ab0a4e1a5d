// The baseline of an agent's start: a bare process of node that fetches the same lists, all at once, and decodes each as a whole.
//   node bench/tools/list-all.js URL PATH…      prints {"ms": from the process's start, "cpuMs", "rss": MB, "bytes", "objects"}
const [server, ...paths] = process.argv.slice(2);
const texts = await Promise.all(paths.map(async (path) => (await fetch(`${server}${path}?resourceVersion=0`)).text()));
const lists = texts.map((text) => JSON.parse(text));
const { user, system } = process.cpuUsage();
console.log(
  JSON.stringify({
    ms: performance.now(),
    cpuMs: (user + system) / 1e3,
    rss: process.memoryUsage().rss / 1e6,
    bytes: texts.reduce((sum, text) => sum + text.length, 0),
    objects: lists.reduce((sum, list) => sum + list.items.length, 0),
  }),
);

// The baseline of an agent's start: a bare process of node that fetches the same lists, all at once, and decodes each as a whole.
//   node bench/tools/list-all.js URL PATH…      prints {"ms": from the process's start, "rss": MB, "bytes": of the answers}
const [server, ...paths] = process.argv.slice(2);
const texts = await Promise.all(paths.map(async (path) => (await fetch(`${server}${path}?resourceVersion=0`)).text()));
const lists = texts.map((text) => JSON.parse(text));
const bytes = texts.reduce((sum, text) => sum + text.length, 0);
const rss = process.memoryUsage().rss / 1e6;
console.log(
  JSON.stringify({ ms: performance.now(), rss, bytes, objects: lists.reduce((n, l) => n + l.items.length, 0) }),
);

// Follows the EndpointSlices of an API server, as any client does, and decodes what it is told: with nothing in between that takes time of its own.
//   node bench/tools/watch-slices.js URL    prints "watching", then for each event the time, in ms since the epoch, and the first address in it
import { once } from "node:events";
import { get } from "node:http";

const [url] = process.argv.slice(2);
const path = `${url}/apis/discovery.k8s.io/v1/endpointslices`;

async function open(address) {
  const [answer] = await once(get(address), "response");
  return answer.setEncoding("utf8");
}

let list = "";
for await (const piece of await open(path)) list += piece;
const { metadata } = JSON.parse(list);
const watch = await open(`${path}?watch=true&resourceVersion=${metadata.resourceVersion}`);
let rest = "";
watch.on("data", (piece) => {
  const lines = (rest + piece).split("\n");
  rest = lines.pop();
  for (const line of lines) {
    const { type, object } = JSON.parse(line);
    if (type === "MODIFIED") console.log(performance.timeOrigin + performance.now(), object.endpoints[0].addresses[0]);
  }
});
console.log("watching");

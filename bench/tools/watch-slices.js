// Follows the EndpointSlices of an API server, as any client does, and decodes what it is told.
//   node bench/tools/watch-slices.js URL    prints "watching", then for each event the time, in ms since the epoch, and the first address in it
const [url] = process.argv.slice(2);
const path = `${url}/apis/discovery.k8s.io/v1/endpointslices`;

const { metadata } = await (await fetch(path)).json();
const answer = await fetch(`${path}?watch=true&resourceVersion=${metadata.resourceVersion}`);
console.log("watching");
let rest = "";
for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
  const lines = (rest + chunk).split("\n");
  rest = lines.pop();
  for (const line of lines) {
    const { type, object } = JSON.parse(line);
    if (type === "MODIFIED") console.log(performance.timeOrigin + performance.now(), object.endpoints[0].addresses[0]);
  }
}

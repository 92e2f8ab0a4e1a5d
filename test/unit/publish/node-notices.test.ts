/** What a node finds wrong with its surroundings is an Event on its Node, said when it begins. */
import test from "ava";
import type { NoticeSink } from "../../../src/model/pod-notices.ts";
import type { Problem } from "../../../src/model/status.ts";
import { NodeNotices } from "../../../src/publish/node-notices.ts";

const problem = (node: string, when: string): Problem => ({
  code: "NODE_BLACK_HOLE",
  severity: "error",
  object: `Node ${node}`,
  field: "",
  message: `no answer since ${when}, by ICMP`,
  remedy: "look",
});

test("each once while it stands, by topic, without times, so that what comes again is the same Event", (t) => {
  const said: Parameters<NoticeSink["notice"]>[0][] = [];
  const notices = new NodeNotices("n1", { notice: (notice) => said.push(notice) });
  const [first, second] = ["2026-01-01T00:00:00.000Z", "2026-01-01T10:20:30.456Z"];
  notices.tell("health", [problem("n2", first)]);
  notices.tell("health", [problem("n2", first), problem("n3", first)]);
  notices.tell("other", []);
  notices.tell("health", [problem("n2", second)]);
  t.deepEqual(said, [
    { node: "n1", type: "Warning", reason: "NodeBlackHole", message: "Node n2: no answer, by ICMP (look)" },
    { node: "n1", type: "Warning", reason: "NodeBlackHole", message: "Node n3: no answer, by ICMP (look)" },
  ]);
  notices.tell("health", []);
  notices.tell("health", [problem("n2", second)]);
  t.is(said.length, 3);
  t.deepEqual(said[2], said[0], "the recorder takes it for a repetition");
});

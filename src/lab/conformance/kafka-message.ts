/**
 * Requests of Kafka and their answers, by the layouts of the protocol's guide. All are of the oldest versions, in which requests have looked
 * the same: rules are about the head and topics, which no version has changed the meaning of.
 */
import type { KafkaRequest } from "./case.ts";
import type { Outcome } from "./outcome.ts";

const int8 = (value: number) => Buffer.of(value & 255);
const int16 = (value: number) => Buffer.concat([int8(value >> 8), int8(value)]);
const int32 = (value: number) => Buffer.concat([int16(value >> 16), int16(value)]);
const int64 = (value: number) => Buffer.concat([int32(value < 0 ? -1 : 0), int32(value)]);
const text = (value: string) => Buffer.concat([int16(Buffer.byteLength(value)), Buffer.from(value)]);
const list = (values: readonly Buffer[]) => Buffer.concat([int32(values.length), ...values]);

/** Of one partition of each topic. */
const each = (topics: readonly string[], ...partition: readonly Buffer[]) =>
  list(topics.map((topic) => Buffer.concat([text(topic), list([Buffer.concat([int32(0), ...partition])])])));

interface Layout {
  readonly key: number;
  /** With the same body from 0 on. */
  readonly lastVersion: number;
  readonly body: (topics: readonly string[], client: string) => readonly Buffer[];
}

const layouts: Readonly<Record<string, Layout>> = {
  produce: { key: 0, lastVersion: 2, body: (topics) => [int16(1), int32(1000), each(topics, int32(0))] },
  fetch: {
    key: 1,
    lastVersion: 2,
    body: (topics) => [int32(-1), int32(100), int32(1), each(topics, int64(0), int32(1 << 20))],
  },
  offsets: { key: 2, lastVersion: 0, body: (topics) => [int32(-1), each(topics, int64(-1), int32(1))] },
  metadata: { key: 3, lastVersion: 3, body: (topics) => [list(topics.map(text))] },
  offsetcommit: {
    key: 8,
    lastVersion: 0,
    body: (topics, client) => [text(client), each(topics, int64(1), text(""))],
  },
  offsetfetch: { key: 9, lastVersion: 5, body: (topics, client) => [text(client), each(topics)] },
  findcoordinator: { key: 10, lastVersion: 0, body: (_, client) => [text(client)] },
  joingroup: {
    key: 11,
    lastVersion: 0,
    body: (_, client) => [text(client), int32(10_000), text(""), text("consumer"), list([])],
  },
  heartbeat: { key: 12, lastVersion: 2, body: (_, client) => [text(client), int32(1), text("member")] },
  leavegroup: { key: 13, lastVersion: 2, body: (_, client) => [text(client), text("member")] },
  syncgroup: { key: 14, lastVersion: 2, body: (_, client) => [text(client), int32(1), text("member"), list([])] },
  describegroups: { key: 15, lastVersion: 2, body: (_, client) => [list([text(client)])] },
  listgroups: { key: 16, lastVersion: 2, body: () => [] },
  apiversions: { key: 18, lastVersion: 2, body: () => [] },
};

/** Why a run cannot send it; null: it can. */
export function unsendable({ apiKey, apiVersion }: KafkaRequest): string | null {
  const layout = layouts[apiKey.toLowerCase()];
  if (layout === undefined) return `a run cannot send Kafka's ${apiKey}`;
  if (apiVersion <= layout.lastVersion) return null;
  return `of Kafka's ${apiKey} a run can send versions up to ${layout.lastVersion}`;
}

/** Without its length. @throws Error for what `unsendable` tells */
export function kafkaRequest(correlation: number, request: KafkaRequest): Buffer {
  const layout = layouts[request.apiKey.toLowerCase()];
  if (layout === undefined) throw new Error(unsendable(request) ?? "");
  const head = [int16(layout.key), int16(request.apiVersion), int32(correlation), text(request.clientId)];
  return Buffer.concat([...head, ...layout.body(request.topics, request.clientId)]);
}

/** The broker of a run answers with nothing and its name (src/lab/probe/kafka.c), the proxy with TOPIC_AUTHORIZATION_FAILED, 29, for what it denies. */
export function readKafkaAnswer(bytes: Buffer, ms: number): Outcome {
  const body = bytes.subarray(4);
  const [, name] = /^\0{6}([!-~]+)$/.exec(body.toString("latin1")) ?? [];
  if (name !== undefined) return { kind: "answer", name, ms };
  if (body.includes(int16(29))) return { kind: "forbidden", how: "error 29", ms };
  return { kind: "failed", why: "an answer of another broker" };
}

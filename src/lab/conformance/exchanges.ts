/** What a prober asks and is answered: DNS and Kafka, as messages that are written and read here. */
import type { CaseProbe, DnsRequest, KafkaRequest } from "./case.ts";
import { dnsQuestion, readDnsAnswer } from "./dns-message.ts";
import { kafkaRequest, readKafkaAnswer } from "./kafka-message.ts";
import type { Outcome } from "./outcome.ts";

export type AskedRequest = DnsRequest | KafkaRequest;

/** What is asked over a connection of a prober's; null: nothing, or what curl asks. */
export function askedOf(request: CaseProbe["request"]): AskedRequest | null {
  return request === null || request.kind === "http" ? null : request;
}

export interface Message {
  /** Bytes of the length before it: 0 is a datagram. */
  readonly width: 0 | 2 | 4;
  readonly bytes: Buffer;
}

/** @param id of the attempt */
export function messageOf(request: AskedRequest, protocol: "tcp" | "udp", id: number): Message {
  if (request.kind === "kafka") return { width: 4, bytes: kafkaRequest(id, request) };
  return { width: protocol === "udp" ? 0 : 2, bytes: dnsQuestion(id, request) };
}

export function readMessage(request: AskedRequest, bytes: Buffer, ms: number): Outcome {
  return request.kind === "kafka" ? readKafkaAnswer(bytes, ms) : readDnsAnswer(bytes, ms);
}

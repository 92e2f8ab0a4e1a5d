/**
 * One question to one server, over UDP and, where the answer does not fit, over TCP. A datagram counts only if it comes from the server that
 * was asked, to the port that asked (the socket is connected, of a port that the kernel chose at random), with the number and the
 * question of this query (RFC 5452); others are as if they had not come.
 */
import { createSocket } from "node:dgram";
import { connect } from "node:net";
import type { Clock } from "../lib/clock.ts";
import { messageOf } from "../lib/errors.ts";
import type { Address } from "../model/ip.ts";
import { decodeResponse, encodeQuery, type Question, type Response, responseCodes } from "./message.ts";
import { MessageError } from "./name-bytes.ts";

export interface Server {
  readonly address: Address;
  readonly port: number;
}

export interface ExchangeOptions {
  readonly server: Server;
  /** For each of both ways. */
  readonly timeoutMs: number;
  /** 0-65535, not to be guessed. */
  readonly randomId: () => number;
  readonly clock: Pick<Clock, "setTimer">;
  readonly signal: AbortSignal;
}

/** Why a server gave no answer; the text completes "192.0.2.53: ". */
export class ExchangeError extends Error {
  override readonly name = "ExchangeError";
}

type Waiting = (settle: {
  readonly done: (response: Response) => void;
  readonly fail: (why: string) => void;
}) => () => void;

/** @throws ExchangeError; MessageError for a name that cannot be asked for */
export async function exchange(question: Question, options: ExchangeOptions): Promise<Response> {
  const response = await askDatagram(question, true, options);
  if (response.isTruncated) return askStream(question, options);
  if (response.code !== responseCodes.badFormat && response.code !== responseCodes.notImplemented) return response;
  // A server from before EDNS (RFC 6891, section 7).
  const plain = await askDatagram(question, false, options);
  return plain.isTruncated ? askStream(question, options) : plain;
}

function askDatagram(question: Question, extended: boolean, options: ExchangeOptions): Promise<Response> {
  const { server, randomId } = options;
  const id = randomId();
  const query = encodeQuery(id, question, extended);
  return waitFor(options, ({ done, fail }) => {
    const socket = createSocket(server.address.family === 4 ? "udp4" : "udp6");
    socket.on("error", (error) => fail(messageOf(error)));
    socket.on("message", (bytes) => {
      const response = read(bytes, id, question);
      if (typeof response !== "string") done(response);
    });
    socket.connect(server.port, server.address.text, () => {
      socket.send(query, (error) => {
        if (error !== null) fail(messageOf(error));
      });
    });
    return () => socket.close();
  });
}

function askStream(question: Question, options: ExchangeOptions): Promise<Response> {
  const { server, randomId } = options;
  const id = randomId();
  const query = encodeQuery(id, question, false);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(query.length);
  return waitFor(options, ({ done, fail }) => {
    const socket = connect({ host: server.address.text, port: server.port });
    let got = Buffer.alloc(0);
    socket.on("error", (error) => fail(messageOf(error)));
    socket.on("end", () => fail("the connection ended within the answer"));
    socket.on("connect", () => socket.write(Buffer.concat([length, query])));
    socket.on("data", (bytes) => {
      got = Buffer.concat([got, bytes]);
      if (got.length < 2 || got.length < 2 + got.readUInt16BE(0)) return;
      const response = read(got.subarray(2, 2 + got.readUInt16BE(0)), id, question);
      // Who has the connection is who was asked: there will be no other answer.
      if (typeof response === "string") fail(`answered with what is no answer: ${response}`);
      else if (response.isTruncated) fail("answered in part, over TCP too");
      else done(response);
    });
    return () => socket.destroy();
  });
}

/** @returns why it is none to this query */
function read(bytes: Buffer, id: number, { name, type }: Question): Response | string {
  try {
    const response = decodeResponse(bytes);
    if (response.id !== id) return "another number";
    const { question } = response;
    return question.name === name && question.type === type ? response : "another question";
  } catch (error) {
    if (error instanceof MessageError) return error.message;
    throw error;
  }
}

function waitFor({ timeoutMs, clock, signal }: ExchangeOptions, start: Waiting): Promise<Response> {
  return new Promise((resolve, reject) => {
    let close: () => void = () => undefined;
    let settled = false;
    const settle = (action: () => void) => {
      if (settled) return;
      settled = true;
      timer.cancel();
      signal.removeEventListener("abort", aborted);
      close();
      action();
    };
    const fail = (why: string) => settle(() => reject(new ExchangeError(why)));
    const aborted = () => settle(() => reject(signal.reason));
    const timer = clock.setTimer(timeoutMs, () => fail(`no answer within ${timeoutMs / 1000} s`));
    if (signal.aborted) return aborted();
    signal.addEventListener("abort", aborted, { once: true });
    close = start({ done: (response) => settle(() => resolve(response)), fail });
    if (settled) close();
  });
}

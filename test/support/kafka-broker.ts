/**
 * A small broker of Kafka: topics of one partition in memory, groups of one member, one version of each request. Enough for a real client to
 * produce and to consume; that what it says is right is for that client to find out. As a program: `kafka-broker.ts PORT`, at the first address that is not loopback.
 */
import { createServer, type Server, type Socket } from "node:net";
import { networkInterfaces } from "node:os";
import { pathToFileURL } from "node:url";

/** Version spoken of each API key. */
const versions: Readonly<Record<number, number>> = {
  0: 3,
  1: 4,
  2: 1,
  3: 1,
  8: 2,
  9: 1,
  10: 0,
  11: 0,
  12: 0,
  13: 0,
  14: 0,
  18: 0,
};

class Reader {
  #at = 0;
  readonly #bytes: Buffer;
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }
  take(size: number): Buffer {
    this.#at += size;
    return this.#bytes.subarray(this.#at - size, this.#at);
  }
  int8 = () => this.take(1).readInt8();
  int16 = () => this.take(2).readInt16BE();
  int32 = () => this.take(4).readInt32BE();
  int64 = () => this.take(8).readBigInt64BE();
  bytes = () => this.take(Math.max(0, this.int32()));
  text = () => this.take(Math.max(0, this.int16())).toString();
  list<T>(each: () => T): readonly T[] {
    return Array.from({ length: Math.max(0, this.int32()) }, each);
  }
}

const int8 = (value: number) => Buffer.from([value]);
const int16 = (value: number) => Buffer.from([(value >> 8) & 255, value & 255]);
const int32 = (value: number) => Buffer.concat([int16(value >> 16), int16(value)]);
const int64 = (value: number | bigint) => {
  const made = Buffer.alloc(8);
  made.writeBigInt64BE(BigInt(value));
  return made;
};
const bytes = (value: Buffer) => Buffer.concat([int32(value.length), value]);
const text = (value: string) => Buffer.concat([int16(Buffer.byteLength(value)), Buffer.from(value)]);
const list = <T>(values: readonly T[], each: (value: T) => Buffer) =>
  Buffer.concat([int32(values.length), ...values.map(each)]);
const all = (...parts: readonly Buffer[]) => Buffer.concat(parts);

interface Batch {
  readonly offset: number;
  readonly records: number;
  readonly bytes: Buffer;
}

export interface Seen {
  readonly apiKey: number;
  readonly clientId: string;
  readonly topics: readonly string[];
}

export class KafkaBroker {
  /** Requests that arrived. */
  readonly seen: Seen[] = [];
  readonly server: Server;
  readonly #topics = new Map<string, Batch[]>();
  readonly #offsets = new Map<string, bigint>();
  readonly #where: () => { readonly host: string; readonly port: number };

  /** @param where clients are told to come to */
  constructor(where: () => { readonly host: string; readonly port: number }) {
    this.#where = where;
    this.server = createServer((socket) => this.#serve(socket));
  }

  #serve(socket: Socket): void {
    let waiting = Buffer.alloc(0);
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => {
      waiting = Buffer.concat([waiting, chunk]);
      while (waiting.length >= 4 && waiting.length >= 4 + waiting.readInt32BE()) {
        const size = waiting.readInt32BE();
        const request = new Reader(waiting.subarray(4, 4 + size));
        waiting = waiting.subarray(4 + size);
        const [apiKey, , correlation, clientId] = [request.int16(), request.int16(), request.int32(), request.text()];
        const body = this.#answer(apiKey, clientId, request);
        if (body !== null) socket.write(bytes(all(int32(correlation), body)));
      }
    });
  }

  #answer(apiKey: number, clientId: string, request: Reader): Buffer | null {
    const topics: string[] = [];
    const topic = () => {
      topics.push(request.text());
      return topics.at(-1) as string;
    };
    this.seen.push({ apiKey, clientId, topics });
    switch (apiKey) {
      case 18:
        return all(
          int16(0),
          list(Object.entries(versions), ([key, version]) => all(int16(Number(key)), int16(version), int16(version))),
        );
      case 3: {
        const asked = request.list(topic);
        const { host, port } = this.#where();
        const partition = all(int16(0), int32(0), int32(1), list([1], int32), list([1], int32));
        return all(
          list([0], () => all(int32(1), text(host), int32(port), int16(-1))),
          int32(1),
          list(asked, (name) =>
            all(
              int16(0),
              text(name),
              int8(0),
              list([0], () => partition),
            ),
          ),
        );
      }
      case 0: {
        request.text();
        const acks = request.int16();
        request.int32();
        const made = request.list(() => {
          const name = topic();
          return [name, request.list(() => [request.int32(), this.#append(name, request.bytes())] as const)] as const;
        });
        if (acks === 0) return null;
        const one = ([partition, offset]: readonly [number, number]) =>
          all(int32(partition), int16(0), int64(offset), int64(-1));
        return all(
          list(made, ([name, partitions]) => all(text(name), list(partitions, one))),
          int32(0),
        );
      }
      case 1: {
        request.take(4 + 4 + 4 + 4 + 1);
        const asked = request.list(() => {
          const name = topic();
          const partitions = request.list(() => {
            const wanted = [request.int32(), request.int64()] as const;
            request.int32();
            return wanted;
          });
          return [name, partitions] as const;
        });
        const one =
          (name: string) =>
          ([partition, offset]: readonly [number, bigint]) => {
            const end = int64(this.#end(name));
            return all(int32(partition), int16(0), end, end, int32(0), bytes(this.#from(name, offset)));
          };
        return all(
          int32(0),
          list(asked, ([name, partitions]) => all(text(name), list(partitions, one(name)))),
        );
      }
      case 2: {
        request.int32();
        const asked = request.list(() => {
          const name = topic();
          return [name, request.list(() => [request.int32(), request.int64()] as const)] as const;
        });
        return list(asked, ([name, partitions]) => {
          const one = ([partition, time]: readonly [number, bigint]) =>
            all(int32(partition), int16(0), int64(-1), int64(time === -2n ? 0 : this.#end(name)));
          return all(text(name), list(partitions, one));
        });
      }
      case 10: {
        const { host, port } = this.#where();
        return all(int16(0), int32(1), text(host), int32(port));
      }
      case 11: {
        request.text();
        request.int32();
        const member = request.text() || `${clientId}-1`;
        request.text();
        const protocols = request.list(() => [request.text(), request.bytes()] as const);
        const [protocol, metadata] = protocols[0] ?? ["", Buffer.alloc(0)];
        const one = () => all(text(member), bytes(metadata));
        return all(int16(0), int32(1), text(protocol), text(member), text(member), list([0], one));
      }
      case 14: {
        request.text();
        request.int32();
        const member = request.text();
        const given = request.list(() => [request.text(), request.bytes()] as const);
        return all(int16(0), bytes(given.find(([name]) => name === member)?.[1] ?? Buffer.alloc(0)));
      }
      case 9: {
        const group = request.text();
        const asked = request.list(() => [topic(), request.list(request.int32)] as const);
        return list(asked, ([name, partitions]) => {
          const offset = int64(this.#offsets.get(`${group} ${name}`) ?? -1);
          return all(
            text(name),
            list(partitions, (partition) => all(int32(partition), offset, text(""), int16(0))),
          );
        });
      }
      case 8: {
        const group = request.text();
        request.int32();
        request.text();
        request.int64();
        const given = request.list(() => {
          const name = topic();
          const partitions = request.list(() => {
            const partition = request.int32();
            this.#offsets.set(`${group} ${name}`, request.int64());
            request.text();
            return partition;
          });
          return [name, partitions] as const;
        });
        return list(given, ([name, partitions]) =>
          all(
            text(name),
            list(partitions, (partition) => all(int32(partition), int16(0))),
          ),
        );
      }
      default:
        return int16(0);
    }
  }

  #end(name: string): number {
    const last = this.#topics.get(name)?.at(-1);
    return last === undefined ? 0 : last.offset + last.records;
  }

  /** A record batch gets its offset in its first 8 bytes, which its checksum leaves out. */
  #append(name: string, batch: Buffer): number {
    const offset = this.#end(name);
    const kept = Buffer.concat([int64(offset), batch.subarray(8)]);
    this.#topics.set(name, [
      ...(this.#topics.get(name) ?? []),
      { offset, records: batch.readInt32BE(57), bytes: kept },
    ]);
    return offset;
  }

  #from(name: string, offset: bigint): Buffer {
    const batches = this.#topics.get(name) ?? [];
    return Buffer.concat(
      batches.filter((batch) => batch.offset + batch.records > Number(offset)).map(({ bytes }) => bytes),
    );
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const port = Number(process.argv[2]);
  const addresses = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  const own = addresses.find(({ family, internal }) => family === "IPv4" && !internal)?.address ?? "127.0.0.1";
  new KafkaBroker(() => ({ host: own, port })).server.listen(port);
}

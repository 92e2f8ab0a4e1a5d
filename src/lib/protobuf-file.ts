/**
 * Protobuf messages and services described by tables, made at run time: for the few calls of a foreign API no generator and no .proto file is needed. Enums
 * are declared int32, and what nobody looks into bytes: the same on the wire.
 */
import { create, createFileRegistry, type FileRegistry } from "@bufbuild/protobuf";
import {
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";

/** A scalar, or the name of a message of the same package. */
type Kind = "string" | "bytes" | "bool" | "int32" | "uint32" | (string & {});
export type Field = readonly [name: string, number: number, kind: Kind, repeated?: "repeated"];

export interface Method {
  readonly name: string;
  readonly input: string;
  readonly output: string;
  readonly serverStreaming: boolean;
}

export interface ProtobufFile {
  /** "apipb.GobgpApi": messages are of its package. */
  readonly service: string;
  readonly messages: Readonly<Record<string, readonly Field[]>>;
  readonly methods: readonly Method[];
}

const scalars: Readonly<Record<string, Type>> = {
  string: Type.STRING,
  bytes: Type.BYTES,
  bool: Type.BOOL,
  int32: Type.INT32,
  uint32: Type.UINT32,
};

export function protobufFile({ service, messages, methods }: ProtobufFile): FileRegistry {
  const dot = service.lastIndexOf(".");
  const inPackage = service.slice(0, dot);
  const file = create(FileDescriptorProtoSchema, {
    name: `${service}.proto`,
    package: inPackage,
    syntax: "proto3",
    messageType: Object.entries(messages).map(([name, fields]) => ({
      name,
      field: fields.map(([field, number, kind, repeated]) => ({
        name: field,
        number,
        label: repeated === undefined ? Label.OPTIONAL : Label.REPEATED,
        type: scalars[kind] ?? Type.MESSAGE,
        ...(scalars[kind] === undefined ? { typeName: `.${inPackage}.${kind}` } : {}),
      })),
    })),
    service: [
      {
        name: service.slice(dot + 1),
        method: methods.map(({ name, input, output, serverStreaming }) => ({
          name,
          inputType: `.${inPackage}.${input}`,
          outputType: `.${inPackage}.${output}`,
          serverStreaming,
        })),
      },
    ],
  });
  return createFileRegistry(create(FileDescriptorSetSchema, { file: [file] }));
}

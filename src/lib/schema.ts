/**
 * Structural schemas, as CustomResourceDefinitions have them (apiextensions.k8s.io/v1), made so that TypeScript knows what they describe.
 * Readers of manifests, generated definitions and the code that writes objects then share one definition.
 */

/** `T`: what a valid value is; nothing carries it at run time. */
export interface Schema<T = unknown> {
  readonly type?: "object" | "array" | "string" | "integer" | "boolean";
  readonly description?: string;
  readonly nullable?: true;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: Schema;
  readonly items?: Schema;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly enum?: readonly string[];
  readonly format?: "date-time" | "int32" | "int64";
  /** RE2, and nothing that JavaScript reads differently. */
  readonly pattern?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly oneOf?: readonly Alternative[];
  readonly "x-kubernetes-int-or-string"?: true;
  readonly "x-kubernetes-preserve-unknown-fields"?: true;
  readonly "x-kubernetes-list-type"?: "map";
  readonly "x-kubernetes-list-map-keys"?: readonly string[];
  readonly of?: T;
}

/** A structural schema describes everything outside of its alternatives; they may only demand. */
export interface Alternative {
  readonly required: readonly string[];
}

export type TypeOf<S> = S extends { readonly of?: infer T } ? Exclude<T, undefined> : never;

type Fields = Readonly<Record<string, Schema>>;

type ObjectOf<F extends Fields, R extends keyof F> = { readonly [Name in R]: TypeOf<F[Name]> } & {
  readonly [Name in Exclude<keyof F, R>]?: TypeOf<F[Name]>;
};

type Rest = Omit<Schema, "type" | "of" | "required" | "properties" | "items" | "enum">;

export type ObjectSchema<F extends Fields, R extends keyof F = never> = Schema<ObjectOf<F, R>> & {
  readonly properties: F;
};

export function object<F extends Fields, const R extends keyof F & string = never>(
  properties: F,
  { required, ...rest }: Rest & { readonly required?: readonly R[] } = {},
): ObjectSchema<F, R> {
  return { type: "object", ...rest, ...(required === undefined ? {} : { required }), properties };
}

/** Any names, values of one kind. */
export function map<T>(values: Schema<T>, rest: Rest = {}): Schema<Readonly<Record<string, T>>> {
  return { type: "object", ...rest, additionalProperties: values };
}

export function list<S extends Schema>(items: S, rest: Rest = {}): Schema<readonly TypeOf<S>[]> {
  return { type: "array", ...rest, items };
}

export function text(rest: Rest = {}): Schema<string> {
  return { type: "string", ...rest };
}

export function word<const W extends string>(words: readonly W[], rest: Rest = {}): Schema<W> {
  return { type: "string", ...rest, enum: words };
}

export function integer(minimum: number, maximum: number, rest: Rest = {}): Schema<number> {
  return { type: "integer", ...rest, minimum, maximum };
}

export function boolean(rest: Rest = {}): Schema<boolean> {
  return { type: "boolean", ...rest };
}

/** A number or a text. */
export function intOrText(rest: Rest = {}): Schema<number | string> {
  return { ...rest, "x-kubernetes-int-or-string": true };
}

/** An object of which nothing is said. */
export function anyObject(rest: Rest = {}): Schema<Readonly<Record<string, unknown>>> {
  return { type: "object", ...rest, "x-kubernetes-preserve-unknown-fields": true };
}

/** The same schema with words for its reader. */
export function described<S extends Schema>(schema: S, description: string): S {
  return { ...schema, description };
}

/** Names of an object's fields, in the order in which they are defined. */
export function fieldNames({ properties = {} }: Schema): readonly string[] {
  return Object.keys(properties);
}

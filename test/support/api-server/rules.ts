/** What a server adds to objects of built-in kinds and refuses of them: defaults, plug-ins of admission, validation. */
import type { JsonObject } from "./json.ts";
import type { Resource } from "./resources.ts";

export interface Admission {
  readonly resource: Resource;
  readonly namespace: string | null;
  readonly name: string;
  /** null: it is new. */
  readonly old: JsonObject | null;
  readonly next: JsonObject;
}

export interface Rules {
  /** The object as it is stored. Not asked for subresources. @throws ApiFailure 403, 422 */
  admit(admission: Admission): JsonObject;
  /** Deletions that wait for dependents, or leave them alone (propagationPolicy), are carried out by a controller. */
  readonly collectsGarbage: boolean;
}

/** Takes everything as it is: for tests that need objects of which only metadata matter. */
export const noRules: Rules = { admit: ({ next }) => next, collectsGarbage: false };

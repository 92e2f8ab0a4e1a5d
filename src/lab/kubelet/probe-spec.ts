/** Probes of a container (v1.Probe), with the API's defaults, and the counting that makes a verdict of single results. */
import { z } from "zod";
import { LabError } from "../errors.ts";

const portSchema = z.union([z.int().min(1).max(65535), z.string()]);

export const probeSchema = z.looseObject({
  httpGet: z
    .looseObject({
      path: z.string().default("/"),
      port: portSchema,
      /** Left out: the pod's address. */
      host: z.string().optional(),
      scheme: z.enum(["HTTP", "HTTPS"]).default("HTTP"),
      httpHeaders: z.array(z.object({ name: z.string(), value: z.string() })).default([]),
    })
    .optional(),
  tcpSocket: z.looseObject({ port: portSchema, host: z.string().optional() }).optional(),
  exec: z.looseObject({ command: z.array(z.string()).min(1) }).optional(),
  /** All in s. */
  initialDelaySeconds: z.number().min(0).default(0),
  timeoutSeconds: z.number().min(0).default(1),
  periodSeconds: z.number().min(0).default(10),
  successThreshold: z.int().min(1).default(1),
  failureThreshold: z.int().min(1).default(3),
});

export type Probe = z.infer<typeof probeSchema>;

/** What a probe says now: it changes after so many equal results in a row as its thresholds demand. */
export class ProbeVerdict {
  readonly #thresholds: Pick<Probe, "successThreshold" | "failureThreshold">;
  #ok: boolean;
  #last: boolean | null = null;
  #inARow = 0;

  /** @param initially true for liveness, false for readiness and start-up */
  constructor(thresholds: Pick<Probe, "successThreshold" | "failureThreshold">, initially: boolean) {
    this.#thresholds = thresholds;
    this.#ok = initially;
  }

  get ok(): boolean {
    return this.#ok;
  }

  /** @returns true: so many results in a row were like this one that it counts, whether it is news or not */
  take(result: boolean): boolean {
    this.#inARow = result === this.#last ? this.#inARow + 1 : 1;
    this.#last = result;
    const { successThreshold, failureThreshold } = this.#thresholds;
    if (this.#inARow < (result ? successThreshold : failureThreshold)) return false;
    this.#ok = result;
    return true;
  }
}

interface Ports {
  readonly name: string;
  readonly ports?: readonly { readonly name?: string | undefined; readonly containerPort: number }[] | undefined;
}

/** @throws LabError LAB_PROBE when the container has no port of that name */
export function portNumber(port: number | string, container: Ports): number {
  if (typeof port === "number") return port;
  const found = container.ports?.find(({ name }) => name === port);
  if (found !== undefined) return found.containerPort;
  throw new LabError(
    "LAB_PROBE",
    `container ${container.name}`,
    `it has no port named ${port}`,
    "name one of its ports",
  );
}

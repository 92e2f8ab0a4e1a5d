/** Writing a status that others write, too: read, change one's own part, write only onto what was read. */
import { isStatus, type KubeClient, type KubeKind, type ObjectName } from "../../kube/index.ts";
import { isRecord } from "../../kube/index.ts";
import { saysTheSame } from "./pod-status.ts";

/** What of an object a status is written by. */
export interface Seen {
  readonly metadata: {
    readonly uid?: string | undefined;
    readonly deletionTimestamp?: string | undefined;
    readonly resourceVersion?: unknown;
  };
  readonly status?: unknown;
}

type Fields = Readonly<Record<string, unknown>>;

/** Conflicts in a row after which something is wrong that repeating does not mend. */
const tries = 10;

/**
 * @param change what the status shall say, from what it says; null in a field removes it. May be called several times
 * @param seen the object as last seen, which may save a request
 * @returns the object as it is then; null: it is gone, or another one has its name
 */
export async function writeStatus(
  client: Pick<KubeClient, "get" | "patch">,
  kind: KubeKind,
  name: ObjectName,
  uid: string,
  change: (status: Fields, object: Seen) => Fields,
  signal: AbortSignal,
  seen: Seen | null = null,
): Promise<Seen | null> {
  try {
    let current: Seen = seen ?? (await client.get(kind, name, { signal }));
    for (let attempt = 1; ; attempt++) {
      if (current.metadata.uid !== uid) return null;
      const old = isRecord(current.status) ? current.status : {};
      const status = change(old, current);
      if (saysTheSame(old, status)) return current;
      const { resourceVersion } = current.metadata;
      try {
        return await client.patch(
          kind,
          name,
          { metadata: { resourceVersion }, status },
          { subresource: "status", signal },
        );
      } catch (error) {
        if (!isStatus(error, 409) || attempt === tries) throw error;
        current = await client.get(kind, name, { signal });
      }
    }
  } catch (error) {
    if (isStatus(error, 404)) return null;
    throw error;
  }
}

/** Several streams as one, in the order in which their values come; it ends, or fails, with the first that does. */

export interface Source<K, T> {
  readonly kind: K;
  readonly stream: AsyncGenerator<T>;
}

export async function* merge<K, T>(
  sources: readonly Source<K, T>[],
): AsyncGenerator<{ readonly kind: K; readonly value: T }> {
  const ask = async (source: Source<K, T>) => ({ source, result: await source.stream.next() });
  const pending = new Map(sources.map((source) => [source, ask(source)]));
  try {
    for (;;) {
      const { source, result } = await Promise.race(pending.values());
      if (result.done === true) return;
      pending.set(source, ask(source));
      yield { kind: source.kind, value: result.value };
    }
  } finally {
    // Those that still wait are ended by their signal; nobody hears how.
    for (const waiting of pending.values()) waiting.catch(() => undefined);
  }
}

/** Those who wait until a pod is open: asked again after each update, and let go when their signal says so. */

interface Waiter {
  readonly isReady: () => Promise<boolean>;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

export class ReadyWaiters {
  readonly #waiters = new Set<Waiter>();

  /** Resolves when `isReady` says so, now or after some update; rejects with the signal's reason. */
  async wait(isReady: () => Promise<boolean>, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    let waiter: Waiter | null = null;
    let abort: () => void = () => undefined;
    const settled = new Promise<void>((resolve, reject) => {
      waiter = { isReady, resolve, reject };
      abort = () => reject(signal.reason);
      // Before the first look, so that an update between the look and the wait is not missed.
      this.#waiters.add(waiter);
      signal.addEventListener("abort", abort, { once: true });
    });
    try {
      await Promise.race([settled, isReady().then((ready) => (ready ? undefined : settled))]);
    } finally {
      signal.removeEventListener("abort", abort);
      if (waiter !== null) this.#waiters.delete(waiter);
    }
  }

  /** After an update. */
  async wake(): Promise<void> {
    for (const waiter of [...this.#waiters]) {
      try {
        if (await waiter.isReady()) waiter.resolve();
      } catch (error) {
        waiter.reject(error);
      }
    }
  }
}

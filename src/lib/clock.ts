/** Time as something that is handed in, so that tests own it. */

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** ms since the epoch. */
  now(): number;
  /** ms since some start; never goes back. */
  monotonicMs(): number;
  /** Resolves after `ms`; rejects with the signal's reason when it is aborted before. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls back once after `ms`; 0: when what has come in by now was taken. It does not keep the process alive. */
  setTimer(ms: number, callback: () => void): Timer;
}

/** Resolves with the promise, which must not fail, or after `ms`. */
export function resolvedWithin(promise: Promise<unknown>, ms: number, clock: Pick<Clock, "setTimer">): Promise<void> {
  return new Promise((resolve) => {
    const timer = clock.setTimer(ms, resolve);
    void promise.then(() => {
      timer.cancel();
      resolve();
    });
  });
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep(ms, signal) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const aborted = () => {
        clearTimeout(timer);
        reject(signal?.reason);
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener("abort", aborted);
        resolve();
      }, ms);
      signal?.addEventListener("abort", aborted, { once: true });
    });
  },
  setTimer(ms, callback) {
    if (ms <= 0) {
      // Node's timers take a millisecond at least. One that is not waited for might never come: it stays referenced, for this one turn.
      const turn = setImmediate(callback);
      return { cancel: () => clearImmediate(turn) };
    }
    const timer = setTimeout(callback, ms);
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

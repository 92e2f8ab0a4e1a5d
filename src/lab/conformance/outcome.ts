/** What came of one of a probe's packets. */
export type Outcome =
  | { readonly kind: "answer"; readonly name: string; readonly ms: number }
  /** The proxy's own answer to a request: "403", "REFUSED", "error 29". */
  | { readonly kind: "forbidden"; readonly how: string; readonly ms: number }
  /** An ICMP message came to where it should. */
  | { readonly kind: "arrived" }
  | { readonly kind: "refused"; readonly why: string }
  /** It could not be sent. */
  | { readonly kind: "failed"; readonly why: string }
  /** Nothing within the time. */
  | { readonly kind: "silence" };

/** What the addon holds open for JavaScript: an opaque number of one binding instance. */
export type Handle = number;

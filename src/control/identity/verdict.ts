/** What a check of a password says that is done away from the workers. */

/** `cause` is for the log, and never a secret. A check that has failed says nothing of the password. */
export type Verdict =
  | { readonly kind: "right" }
  | { readonly kind: "wrong"; readonly cause: string }
  | { readonly kind: "failed"; readonly cause: string };

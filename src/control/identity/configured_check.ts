/** A check of passwords by what the configuration says of it, which a reload may change. */

import type { ExternalCheck } from "../../auth/external.ts";
import type { ExternalRequest, ExternalVerdict } from "../../config/external_check.ts";

/** What holds for each of them. */
export interface CheckTerms {
  atOnce: number;
  timeoutMs: number;
}

export abstract class ConfiguredCheck<Terms extends CheckTerms> implements ExternalCheck {
  protected terms: Terms;

  constructor(terms: Terms) {
    this.terms = terms;
  }

  get atOnce(): number {
    return this.terms.atOnce;
  }

  get timeoutMs(): number {
    return this.terms.timeoutMs;
  }

  /** For checks that begin from now on. */
  configure(terms: Terms): void {
    this.terms = terms;
  }

  abstract check(request: ExternalRequest, signal: AbortSignal): Promise<ExternalVerdict>;
}

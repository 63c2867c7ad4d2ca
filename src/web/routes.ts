/**
 * What the web listener serves: `/metrics`, and whether the process lives (`/healthz`) and takes clients (`/readyz`), all
 * to whoever asks. Where nothing is guarded no password is looked at: so none can be tried here.
 */

import { type Answer, type HttpRequest, textAnswer } from "./http/answer.ts";
import type { RequestHead } from "./http/head.ts";
import type { WebEnvironment } from "./environment.ts";
import { families } from "./metrics/families.ts";
import { Gathering } from "./metrics/gather.ts";
import { Scrape } from "./metrics/scrape.ts";

const TARGET = "pg_doorman::web";
const ACCESS_TARGET = "pg_doorman::web::access";
const SLOW_MS = 100;
const SLOW_LOG_EVERY_MS = 30_000;
const METHODS = "GET, HEAD";

export class Routes {
  readonly gathering: Gathering;
  readonly #environment: WebEnvironment;
  readonly #scrape: Scrape;
  #slowLoggedAtMs = -Infinity;

  constructor(environment: WebEnvironment) {
    this.#environment = environment;
    this.gathering = new Gathering(environment);
    this.#scrape = new Scrape(async () => families(await this.gathering.gather()));
  }

  async handle(request: HttpRequest): Promise<Answer> {
    const { method, path } = request;
    if (method !== "GET" && method !== "HEAD") {
      return textAnswer(405, "method not allowed", { Allow: METHODS });
    }
    switch (path) {
      case "/metrics":
        return await this.#metrics(request);
      case "/healthz":
        return textAnswer(200, "alive");
      case "/readyz":
        return await this.#ready();
      default:
        return textAnswer(404, "not found");
    }
  }

  /** Counts an answer and logs it. */
  answered(head: RequestHead | undefined, { status, body }: Answer, peer: string): void {
    this.gathering.countAnswer(status);
    const { log } = this.#environment;
    const level = status >= 200 && status < 300 ? "debug" : "info";
    if (!log.enabled(level, ACCESS_TARGET)) return;
    const { method = "-", path = "-", query = "" } = head ?? {};
    const line = `method=${method} path=${quoted(path)} query=${query !== ""} status=${status} ` +
      `bytes=${head?.path === "/metrics" ? 0 : body.length} peer=${peer} ` +
      `auth_role=anonymous auth_source=- auth_user=-`;
    log.provoked(level, ACCESS_TARGET, { kind: `web ${status}`, address: hostOf(peer) }, line);
  }

  async #metrics(request: HttpRequest): Promise<Answer> {
    const { log } = this.#environment;
    const startedAt = performance.now();
    const answer = await this.#scrape.answer(request);
    const tookMs = performance.now() - startedAt;
    const line = `scrape took ${tookMs.toFixed(1)} ms, ${answer.body.length} bytes` +
      `${"Content-Encoding" in answer.headers ? ", gzip" : ""}`;
    log.provoked("info", TARGET, { kind: "scrape", address: hostOf(request.peer) }, line);
    if (tookMs > SLOW_MS && startedAt - this.#slowLoggedAtMs > SLOW_LOG_EVERY_MS) {
      this.#slowLoggedAtMs = startedAt;
      log.warn(TARGET, `slow: ${line}`);
    }
    return answer;
  }

  async #ready(): Promise<Answer> {
    const readiness = this.#environment.readiness();
    // Who comes now is the new process's client: whoever ended connections for it would undo what the upgrade keeps.
    if (readiness === "upgrading") return textAnswer(200, "ready: handing over");
    if (readiness !== "ready") return textAnswer(503, `not ready: ${readiness}`);
    if (!await this.#environment.workersAnswer()) {
      return textAnswer(503, "not ready: a worker does not answer");
    }
    return textAnswer(200, "ready");
  }
}

/** As logfmt has values with blanks and the like. */
function quoted(value: string): string {
  return /[\s"\\=]/.test(value) ? JSON.stringify(value) : value;
}

function hostOf(peer: string): string {
  return peer.slice(0, peer.lastIndexOf(":"));
}

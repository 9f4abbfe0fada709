/** The page: verify the enclave, take a photo, seal it, show what was found. */

import { BlindgateClient } from "@client/client.js";
import { VerificationFailed } from "@client/errors.js";
import { credentials, failureOf, type Failure } from "./attempt.js";
import { checksAfter, checksOf } from "./checks.js";
import { configuration, trustOf, type Configuration } from "./configuration.js";
import { Findings, LOWEST_SCORE } from "./findings.js";
import { Traffic } from "./traffic.js";
import { read, type Upload } from "./upload.js";
import { byId, h, renew } from "./view/elements.js";
import { enclaveView, type Verdict } from "./view/enclave.js";
import { noticesView, originView, problemNotice } from "./view/notices.js";
import { Results } from "./view/results.js";
import { sightView } from "./view/sight.js";
import { Stage } from "./view/stage.js";
import { bytes } from "./words.js";

/** Times the usual passes of the detector: the whole photo and 2 × 2 parts of it. */
const CLOSER = 2;

class Page {
  private verdict: Verdict = { state: "checking" };
  private upload: Upload | null = null;
  private running: AbortController | null = null;
  private signedIn: Record<string, string> = {};
  private client: BlindgateClient;
  private readonly traffic = new Traffic(() => this.showTraffic());
  private readonly stage: Stage;

  constructor(private readonly told: Configuration) {
    this.stage = new Stage(byId("stage"), told.maxBody, (file) => void this.take(file));
    this.client = this.connect();
    byId("notices").replaceChildren(...noticesView(told));
    byId("origin").replaceChildren(...originView(told));
    this.showSight();
  }

  /** Verify the enclave, and say so. */
  async verify(): Promise<void> {
    this.fail(null);
    this.judge({ state: "checking" });
    try {
      const enclave = await this.client.verify();
      this.judge({ state: "trusted", enclave, checks: checksOf(enclave, this.told) });
    } catch (error) {
      this.blame(error, false, () => void this.verify());
    }
  }

  /** A person brought a file. */
  private async take(file: File): Promise<void> {
    this.running?.abort();
    this.running = null;
    this.fail(null);
    byId("results").hidden = true;
    if (this.upload?.preview) URL.revokeObjectURL(this.upload.preview);
    this.upload = null;
    try {
      this.upload = await read(file, this.told.maxBody);
    } catch (error) {
      this.stage.empty();
      this.fail(failureOf(error, false));
      return;
    }
    this.stage.show(this.upload);
    await this.detect(this.upload, 1);
  }

  /** Verify, seal, send, open. The client refuses to seal for an enclave that is not verified. */
  private async detect(upload: Upload, tiles: number): Promise<void> {
    const running = (this.running = new AbortController());
    const before = this.sealedRequests();
    this.fail(null);
    this.say(`Sealing ${bytes(upload.content.length)} for the enclave …`, () => running.abort());
    try {
      const started = performance.now();
      const { signal } = running;
      const answer = await this.client.detect(upload.content, {
        minScore: LOWEST_SCORE,
        tiles,
        signal,
      });
      if (this.running !== running) return;
      const seconds = ((performance.now() - started) / 1000).toFixed(1);
      this.showResults(new Findings(answer), upload, tiles, seconds);
    } catch (error) {
      // Another photo took its place: nobody waits for this one any more.
      if (this.running !== running) return;
      this.say("");
      const carried = this.sealedRequests() > before;
      this.blame(error, carried, () => void this.detect(upload, tiles));
    } finally {
      this.noticeNewEnclave();
    }
  }

  private showResults(findings: Findings, upload: Upload, tiles: number, seconds: string): void {
    const closer = tiles > 1 ? null : () => void this.detect(upload, CLOSER);
    byId("results").hidden = false;
    new Results(byId("results-body"), findings, this.stage, upload.name, closer);
    this.say(`Answered in ${seconds} s. Only this page could open the answer.`);
    byId("results-title").focus({ preventScroll: true });
  }

  /** The client may have verified anew by itself: show the enclave that it used. */
  private noticeNewEnclave(): void {
    const { enclave } = this.client;
    const known = this.verdict.state === "trusted" ? this.verdict.enclave : null;
    if (enclave && enclave !== known) {
      this.judge({ state: "trusted", enclave, checks: checksOf(enclave, this.told) });
    }
  }

  private blame(error: unknown, carried: boolean, again: () => void): void {
    if (error instanceof VerificationFailed) {
      const checks = checksAfter(error, this.traffic.document);
      this.judge({ state: "refused", checks, sent: carried });
      const text = carried
        ? "The enclave changed under way, and the new one is not trusted."
        : "Nothing was sent. See under Enclave which check failed.";
      this.fail({ title: "The enclave is not trusted.", text, again: false, signIn: false });
      return;
    }
    const failure = failureOf(error, carried, this.isSignedIn);
    if (this.verdict.state === "checking") {
      this.judge({ state: "unreachable", message: `${failure.title} Nothing was sent.` });
    }
    this.fail(failure, again);
  }

  private judge(verdict: Verdict): void {
    this.verdict = verdict;
    renew(
      byId("enclave"),
      ...enclaveView(verdict, this.told, this.traffic.document, () => void this.verify()),
    );
  }

  private showSight(): void {
    renew(byId("sight"), ...sightView(this.traffic.exchanges, this.upload, this.isSignedIn));
  }

  /** Whether a key or token goes along with what is sent. */
  private get isSignedIn(): boolean {
    return Object.keys(this.signedIn).length > 0;
  }

  private showTraffic(): void {
    this.showSight();
    const last = this.traffic.exchanges.at(-1);
    if (this.running && last?.kind === "sealed" && last.status === null) {
      const { running } = this;
      this.say(`Sent ${bytes(last.sent)}, sealed. The enclave is looking …`, () => running.abort());
    }
  }

  private say(text: string, cancel?: () => void): void {
    byId("status").textContent = text;
    renew(
      byId("cancel"),
      ...(cancel ? [h("button", { type: "button", class: "quiet", click: cancel }, "Cancel")] : []),
    );
  }

  private fail(failure: Failure | null, again?: () => void): void {
    renew(
      byId("failure"),
      ...(failure
        ? [
            problemNotice(failure.title, failure.text, failure.expected),
            ...(failure.signIn ? [this.signIn(again)] : []),
            ...(failure.again && again
              ? [h("button", { type: "button", class: "again", click: again }, "Try again")]
              : []),
          ]
        : []),
    );
    // On a small screen it is below what is seen first.
    document.getElementById("credential")?.scrollIntoView({ block: "nearest" });
  }

  private signIn(then?: () => void): Node {
    const field = h("input", { id: "credential", type: "password", autocomplete: "off", required: true });
    return h(
      "form",
      {
        class: "sign-in",
        submit: (event) => {
          event.preventDefault();
          this.signedIn = credentials(field.value);
          this.client = this.connect();
          (then ?? (() => void this.verify()))();
        },
      },
      h("label", { for: "credential" }, "API key or access token"),
      field,
      h("button", { type: "submit" }, "Sign in"),
      h(
        "p",
        { class: "fine" },
        "Kept in this tab's memory only. It travels outside the seal, because the gateway is who asks.",
      ),
    );
  }

  private connect(): BlindgateClient {
    const { told, signedIn, traffic } = this;
    return new BlindgateClient({
      gateway: told.gateway,
      trust: trustOf(told),
      fetch: traffic.fetch,
      headers: signedIn,
    });
  }

  private sealedRequests(): number {
    return this.traffic.exchanges.filter(({ kind }) => kind === "sealed").length;
  }
}

async function start(): Promise<void> {
  if (!isSecureContext) {
    const text = "Open it over https: browsers have no cryptography for pages that came over http.";
    byId("notices").replaceChildren(problemNotice("This page cannot seal anything.", text));
    return;
  }
  let told: Configuration;
  try {
    told = await configuration();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    byId("notices").replaceChildren(problemNotice("This page has no configuration.", `${reason}.`));
    return;
  }
  await new Page(told).verify();
}

void start();

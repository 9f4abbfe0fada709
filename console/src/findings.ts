/** What was found, and the part of it that a person wants to see. */

import type { Detection, Detections } from "@client/client.js";

/** Asked of the enclave: low enough that the slider has something to reveal. */
export const LOWEST_SCORE = 0.1;
/** What the API and `blindgate detect` use for the default model (its model.toml). */
export const FIRST_THRESHOLD = 0.4;

/** Light and far apart, so that dark text on each is legible and they stand out on photos. */
const COLOURS = [
  "#ffd166", "#5fd4c6", "#ff9f86", "#a6c8ff", "#d9b8ff", "#a5e06a", "#ffb0d2", "#f4f1ea",
] as const; // prettier-ignore

export interface Finding {
  /** 1 for the best; the same in the picture and in the table. */
  readonly number: number;
  readonly colour: string;
  readonly detection: Detection;
}

export interface LabelCount {
  readonly label: string;
  readonly colour: string;
  readonly count: number;
}

export class Findings {
  readonly all: readonly Finding[];
  threshold = FIRST_THRESHOLD;
  private readonly hidden = new Set<string>();
  private readonly colours = new Map<string, string>();

  constructor(readonly answer: Detections) {
    this.all = answer.detections.map((detection, at) => ({
      number: at + 1,
      colour: this.colourOf(detection.label),
      detection,
    }));
  }

  get shown(): readonly Finding[] {
    return this.all.filter(
      ({ detection }) => detection.score >= this.threshold && !this.hidden.has(detection.label),
    );
  }

  /** The best score of the labels that are not hidden; null if all are. */
  get best(): number | null {
    const scores = this.all
      .filter(({ detection }) => !this.hidden.has(detection.label))
      .map(({ detection }) => detection.score);
    return scores.length ? Math.max(...scores) : null;
  }

  /** Every label at or above the threshold, with how many there are. */
  get labels(): readonly LabelCount[] {
    const counts = new Map<string, number>();
    for (const { detection } of this.all) {
      const more = detection.score >= this.threshold ? 1 : 0;
      counts.set(detection.label, (counts.get(detection.label) ?? 0) + more);
    }
    return [...counts].map(([label, count]) => ({ label, count, colour: this.colourOf(label) }));
  }

  isHidden(label: string): boolean {
    return this.hidden.has(label);
  }

  hide(label: string, hidden: boolean): void {
    if (hidden) this.hidden.add(label);
    else this.hidden.delete(label);
  }

  /** The answer with only what is shown: the same schema as the enclave's. */
  toJson(): string {
    const detections = this.shown.map(({ detection }) => detection);
    return `${JSON.stringify({ ...this.answer, detections }, null, 2)}\n`;
  }

  private colourOf(label: string): string {
    let colour = this.colours.get(label);
    if (colour === undefined) {
      colour = COLOURS[this.colours.size % COLOURS.length]!;
      this.colours.set(label, colour);
    }
    return colour;
  }
}

/** What was found as a table, the filters, and the downloads. */

import { annotated } from "../annotate.js";
import { LOWEST_SCORE, type Finding, type Findings } from "../findings.js";
import { count, percent } from "../words.js";
import { h, save, unseen } from "./elements.js";
import type { Stage } from "./stage.js";

export class Results {
  private readonly rows = h("tbody");
  private readonly chips = h("div", { class: "chips" });
  private readonly shown = h("p", { class: "shown", role: "status" });
  private readonly level = h("output", { for: "threshold" });
  private readonly buttons: HTMLButtonElement[];

  constructor(
    private readonly root: HTMLElement,
    private readonly findings: Findings,
    private readonly stage: Stage,
    private readonly name: string,
    closer: (() => void) | null,
  ) {
    const button = (text: string, click: () => void) =>
      h("button", { type: "button", click }, text);
    this.buttons = [
      button("Download JSON", () => this.saveJson()),
      button("Download annotated PNG", () => void this.savePng()),
    ];
    const { model, image } = findings.answer;
    this.root.replaceChildren(
      this.shown,
      ...(findings.all.length ? [this.filters(), this.table()] : []),
      h(
        "div",
        { class: "bar" },
        ...this.buttons,
        closer && button("Search again for small objects", closer),
      ),
      h("p", { class: "fine" }, `${model.name} ${model.version}, ${image.width} × ${image.height} pixels`),
    );
    this.update();
  }

  /** One sentence for those who do not see the picture. */
  private get summary(): string {
    const { shown, all, threshold } = this.findings;
    if (all.length === 0) return "Nothing was found in this photo.";
    if (shown.length === 0) return this.nothingShown;
    const hidden = all.length - shown.length;
    const rest = hidden ? `; ${hidden} more ${hidden === 1 ? "is" : "are"} hidden` : "";
    const verb = shown.length === 1 ? "scores" : "score";
    return `${count(shown.length, "object")} ${verb} ${percent(threshold)} or more${rest}.`;
  }

  /** Why the table is empty although something was found, and what to do. */
  private get nothingShown(): string {
    const { all, best, threshold } = this.findings;
    const more = `${all.length} more ${all.length === 1 ? "is" : "are"} hidden`;
    if (best === null || best >= threshold) return `Every label is hidden: show one below; ${more}.`;
    return (
      `Nothing scores ${percent(threshold)} or more: move “Lowest score” to ` +
      `${percent(Math.floor(best * 100) / 100)} or less; ${more}.`
    );
  }

  private filters(): Node {
    const slider = h("input", {
      id: "threshold",
      type: "range",
      min: LOWEST_SCORE * 100,
      max: 99,
      step: 1,
      value: Math.round(this.findings.threshold * 100),
      input: () => {
        this.findings.threshold = Number(slider.value) / 100;
        this.update();
      },
    });
    return h(
      "div",
      { class: "filters" },
      h(
        "div",
        { class: "level" },
        h("label", { for: "threshold" }, "Lowest score"),
        slider,
        this.level,
      ),
      h("fieldset", {}, h("legend", {}, "Labels"), this.chips),
    );
  }

  private table(): Node {
    const head = ["", "Label", "Score", "Box: left, top, right, bottom"].map((text) =>
      h("th", { scope: "col" }, text || unseen("Number")),
    );
    return h(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table of objects" },
      h(
        "table",
        {},
        h("caption", { class: "unseen" }, "Objects in the photo, best first; boxes in pixels"),
        h("thead", {}, h("tr", {}, ...head)),
        this.rows,
      ),
    );
  }

  private update(): void {
    const { shown, threshold } = this.findings;
    this.stage.draw(this.findings);
    this.level.textContent = percent(threshold);
    this.level.value = percent(threshold);
    this.updateChips();
    this.rows.replaceChildren(
      ...(shown.length ? shown.map((finding) => this.row(finding)) : [this.emptyRow()]),
    );
    this.shown.textContent = this.summary;
    for (const button of this.buttons) button.disabled = false;
  }

  /** Kept as they are where possible: replacing one would take the keyboard's focus away. */
  private updateChips(): void {
    const { labels } = this.findings;
    if (this.chips.childElementCount !== labels.length) {
      this.chips.replaceChildren(
        ...labels.map(({ label, colour }) => {
          const box = h("input", {
            type: "checkbox",
            checked: !this.findings.isHidden(label),
            change: () => {
              this.findings.hide(label, !box.checked);
              this.update();
            },
          });
          const swatch = h("span", { class: "swatch", "aria-hidden": "true" });
          swatch.style.background = colour;
          return h("label", { class: "chip" }, box, swatch, label, " ", h("span", { class: "count" }));
        }),
      );
    }
    [...this.chips.children].forEach((chip, at) => {
      const found = labels[at]?.count ?? 0;
      chip.querySelector(".count")!.textContent = String(found);
      chip.classList.toggle("none", found === 0);
    });
  }

  private emptyRow(): HTMLElement {
    return h("tr", {}, h("td", { colspan: 4, class: "fine" }, this.nothingShown));
  }

  private row({ number, colour, detection }: Finding): HTMLElement {
    const { box, label, score } = detection;
    const swatch = h("span", { class: "number" }, String(number));
    swatch.style.background = colour;
    const corners = [box.x_min, box.y_min, box.x_max, box.y_max].map((at) => Math.round(at));
    return h(
      "tr",
      {
        pointerenter: () => this.stage.point(number),
        pointerleave: () => this.stage.point(null),
      },
      h("td", {}, swatch),
      h("th", { scope: "row" }, label),
      h("td", {}, percent(score)),
      h("td", { class: "corners" }, corners.join(", ")),
    );
  }

  private get stem(): string {
    return this.name.replace(/\.encrypted$/, "").replace(/\.[A-Za-z0-9]{1,5}$/, "") || "photo";
  }

  private saveJson(): void {
    const content = new Blob([this.findings.toJson()], { type: "application/json" });
    save(content, `${this.stem}.detections.json`);
  }

  private async savePng(): Promise<void> {
    const picture = await annotated(this.findings, this.stage.photo);
    if (picture) save(picture, `${this.stem}.detections.png`);
    else this.shown.textContent = "This browser cannot draw a picture of this size.";
  }
}

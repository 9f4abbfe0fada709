/** Where a photo is dropped, and where it is shown with boxes over it. */

import type { Findings } from "../findings.js";
import { placed, type Area } from "../labels.js";
import { paint, uprightSize, type Photo } from "../photo.js";
import { largest, type Upload } from "../upload.js";
import { bytes, percent } from "../words.js";
import { h } from "./elements.js";

/** Pixels of the longer side of a photo on the screen. */
const LARGEST = 2560;

export class Stage {
  /** The photo; null for what is encrypted. */
  photo: Photo | null = null;
  private readonly input: HTMLInputElement;
  private overlay: HTMLElement | null = null;
  private drawn: Findings | null = null;

  constructor(
    private readonly root: HTMLElement,
    private readonly maxBody: number,
    taken: (file: File) => void,
  ) {
    this.input = h("input", {
      type: "file",
      hidden: true,
      accept: "image/jpeg,image/png,image/webp,.encrypted",
      change: () => {
        const file = this.input.files?.[0];
        // So that the same file can be chosen again.
        if (file) taken(file);
        this.input.value = "";
      },
    });
    document.body.append(this.input);
    this.takeDrops(taken);
    this.empty();
    // Labels keep their size when the photo changes its own, so their places change.
    new ResizeObserver(() => this.drawn && this.draw(this.drawn)).observe(root);
  }

  /** Ask for a photo. */
  empty(): void {
    this.photo = null;
    this.overlay = null;
    this.drawn = null;
    this.root.replaceChildren(
      h(
        "div",
        { class: "drop" },
        h("p", { class: "call" }, "Drop a photo here, or paste one"),
        this.chooser("Choose a photo", "primary"),
        h(
          "p",
          {},
          `JPEG, PNG or WebP up to ${largest(this.maxBody)}, or an .encrypted file. It is sealed in ` +
            "this browser, and sent only after the enclave is verified.",
        ),
      ),
    );
  }

  /** Show what was brought. */
  show(upload: Upload): void {
    this.drawn = null;
    this.overlay = h("div", { class: "overlay", "aria-hidden": "true" });
    const canvas = h("canvas", { role: "img", "aria-label": `Your photo ${upload.name}` });
    this.photo = upload.preview ? this.load(upload.preview, upload.orientation, canvas) : null;
    const sealed = h(
      "div",
      { class: "blank" },
      h("p", {}, "This file stays encrypted. Only the enclave opens it, so there is no photo to show."),
    );
    this.root.replaceChildren(
      h("div", { class: "frame" }, this.photo ? canvas : sealed, this.overlay),
      h(
        "div",
        { class: "bar" },
        h("p", {}, upload.name, " ", h("span", {}, bytes(upload.content.length))),
        this.chooser("Another photo", "quiet"),
      ),
    );
  }

  /** Draw boxes over it. */
  draw(findings: Findings): void {
    if (!this.overlay) return;
    const { width, height } = findings.answer.image;
    this.root.querySelector(".blank")?.classList.add("answered");
    this.shape(width, height);
    this.drawn = findings;
    const { clientWidth, clientHeight } = this.overlay;
    const scale = { x: clientWidth / width, y: clientHeight / height };
    const marks = findings.shown.map(({ number, colour, detection }) => {
      const { x_min, y_min, x_max, y_max } = detection.box;
      const box = h("div", { class: "box", "data-number": number });
      const text = ` ${detection.label} ${percent(detection.score)}`;
      const tag = h("p", { class: "tag", "data-number": number }, h("b", {}, String(number)), text);
      const area = {
        x: x_min * scale.x,
        y: y_min * scale.y,
        width: (x_max - x_min) * scale.x,
        height: (y_max - y_min) * scale.y,
      };
      for (const element of [box, tag]) element.style.setProperty("--colour", colour);
      put(box, area);
      return { box, tag, area };
    });
    // The best is drawn last, on top; labels above all boxes.
    this.overlay.replaceChildren(
      ...marks.map(({ box }) => box).reverse(),
      ...marks.map(({ tag }) => tag).reverse(),
    );
    const tags = marks.map(({ tag, area }) => {
      return { area, width: tag.offsetWidth, height: tag.offsetHeight };
    });
    const frame = { width: clientWidth, height: clientHeight };
    placed(tags, frame).forEach(({ x, y }, at) => put(marks[at]!.tag, { x, y }));
  }

  /** Make one box stand out, or none. */
  point(number: number | null): void {
    for (const mark of this.overlay?.querySelectorAll<HTMLElement>("[data-number]") ?? []) {
      mark.classList.toggle("pointed", mark.dataset["number"] === String(number));
    }
    this.overlay?.classList.toggle("pointing", number !== null);
  }

  /** Decode a photo, then draw it upright, as large as a screen needs it. */
  private load(preview: string, orientation: number, canvas: HTMLCanvasElement): Photo {
    const image = h("img", { src: preview, load: () => this.fit(photo, canvas) });
    const photo = { image, orientation };
    return photo;
  }

  private fit(photo: Photo, canvas: HTMLCanvasElement): void {
    const { width, height } = uprightSize(photo);
    const scale = Math.min(1, LARGEST / Math.max(width, height));
    canvas.width = Math.max(1, Math.round(width * scale));
    canvas.height = Math.max(1, Math.round(height * scale));
    const context = canvas.getContext("2d");
    if (context) paint(context, photo, canvas);
    if (this.photo === photo) this.shape(width, height);
  }

  private shape(width: number, height: number): void {
    this.overlay?.parentElement?.style.setProperty("--ratio", String(width / height));
  }

  private chooser(text: string, kind: string): HTMLElement {
    return h("button", { type: "button", class: kind, click: () => this.input.click() }, text);
  }

  /** Anywhere on the page: a browser would otherwise open the dropped file in its place. */
  private takeDrops(taken: (file: File) => void): void {
    const over = (on: boolean) => document.body.classList.toggle("dropping", on);
    window.addEventListener("dragover", (event) => {
      event.preventDefault();
      over(true);
    });
    window.addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) over(false);
    });
    window.addEventListener("drop", (event) => {
      event.preventDefault();
      over(false);
      const file = event.dataTransfer?.files[0];
      if (file) taken(file);
    });
    window.addEventListener("paste", (event) => {
      const file = event.clipboardData?.files[0];
      if (file) taken(file);
    });
  }
}

function put(element: HTMLElement, at: Partial<Area>): void {
  if (at.x !== undefined) element.style.left = `${at.x}px`;
  if (at.y !== undefined) element.style.top = `${at.y}px`;
  if (at.width !== undefined) element.style.width = `${at.width}px`;
  if (at.height !== undefined) element.style.height = `${at.height}px`;
}

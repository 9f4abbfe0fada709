/** The photo with the boxes in it, as a PNG. */

import type { Findings } from "./findings.js";
import { placed } from "./labels.js";
import { paint, type Photo } from "./photo.js";
import { percent } from "./words.js";

const INK = "#10161a";
const BLANK = "#5b646b";

/** Draw at the photo's own size; `photo` is null where the photo is encrypted. */
export async function annotated(
  findings: Findings,
  photo: Photo | null,
): Promise<Blob | null> {
  const { width, height } = findings.answer.image;
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  if (!context) return null;
  if (photo) {
    paint(context, photo, { width, height });
  } else {
    context.fillStyle = BLANK;
    context.fillRect(0, 0, width, height);
  }
  // In proportion to the photo, so that 12 megapixels do not get hairlines.
  const line = Math.max(2, Math.round(Math.min(width, height) / 300));
  const size = Math.max(14, line * 6);
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  const high = size * 1.6;
  const marks = findings.shown.map(({ number, colour, detection: { box, label, score } }) => {
    const text = `${number} ${label} ${percent(score)}`;
    const area = {
      x: box.x_min,
      y: box.y_min,
      width: box.x_max - box.x_min,
      height: box.y_max - box.y_min,
    };
    return { text, colour, area, width: context.measureText(text).width + size, height: high };
  });
  const places = placed(marks, { width, height });
  // The best is drawn last, on top; labels above all boxes.
  for (const { colour, area } of [...marks].reverse()) {
    for (const [style, wide] of [[INK, line * 2] as const, [colour, line] as const]) {
      context.lineWidth = wide;
      context.strokeStyle = style;
      context.strokeRect(area.x, area.y, area.width, area.height);
    }
  }
  for (const [at, mark] of [...marks.entries()].reverse()) {
    const { x, y } = places[at]!;
    context.fillStyle = mark.colour;
    context.fillRect(x, y, mark.width, mark.height);
    context.fillStyle = INK;
    context.fillText(mark.text, x + size / 2, y + mark.height / 2);
  }
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

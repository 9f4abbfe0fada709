/** A photo that the browser decodes and this page draws: upright and over white. */

import { TURNS } from "./orientation.js";

export interface Photo {
  /** As stored, without its orientation. */
  readonly image: HTMLImageElement;
  /** The EXIF orientation, 1 to 8. */
  readonly orientation: number;
}

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** The size of the upright photo, in pixels; zeros before it is loaded. */
export function uprightSize({ image, orientation }: Photo): Size {
  const { naturalWidth, naturalHeight } = image;
  return orientation >= 5
    ? { width: naturalHeight, height: naturalWidth }
    : { width: naturalWidth, height: naturalHeight };
}

/** Draw it so that it fills an area from the canvas's origin. */
export function paint(context: CanvasRenderingContext2D, photo: Photo, { width, height }: Size): void {
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.save();
  context.scale(width, height);
  context.transform(...TURNS[photo.orientation - 1]!);
  context.drawImage(photo.image, 0, 0, 1, 1);
  context.restore();
}

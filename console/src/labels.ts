/** Where the label of each box goes, so that as few as possible cover each other. */

export interface Area {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface Tag {
  /** The box that it belongs to. */
  readonly area: Area;
  readonly width: number;
  readonly height: number;
}

/**
 * The top left corner of every label. Each takes the first free one of the places around its box
 * that are inside the frame; earlier ones choose first. If none is free it covers another.
 */
export function placed(
  tags: readonly Tag[],
  frame: { readonly width: number; readonly height: number },
): { x: number; y: number }[] {
  const taken: Area[] = [];
  return tags.map(({ area, width, height }) => {
    const [left, right] = [area.x, area.x + area.width - width];
    const [above, below] = [area.y - height, area.y + area.height];
    const places = [
      [left, above],
      [left, area.y],
      [right, above],
      [right, area.y],
      [left, below - height],
      [left, below],
      [right, below - height],
      [right, below],
    ]
      .map(([x, y]) => ({ x: clamp(x!, frame.width - width), y: y!, width, height }))
      .filter(({ y }) => y >= 0 && y + height <= frame.height);
    const fallback = { x: clamp(left, frame.width - width), y: Math.max(0, area.y), width, height };
    const place = places.find((one) => !taken.some((other) => overlap(one, other))) ?? fallback;
    taken.push(place);
    return { x: place.x, y: place.y };
  });
}

function clamp(value: number, most: number): number {
  return Math.max(0, Math.min(value, most));
}

function overlap(one: Area, other: Area): boolean {
  return (
    one.x < other.x + other.width &&
    other.x < one.x + one.width &&
    one.y < other.y + other.height &&
    other.y < one.y + one.height
  );
}

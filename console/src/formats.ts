/** Names for files that people try and the enclave does not open: as `blindgate.imaging.formats`. */

/** By a file's first bytes, as characters up to U+00FF. */
const OTHERS: readonly (readonly [RegExp, string])[] = [
  [/^.{4}ftyp(?:mif1|msf1).{4}(?:.{4})*avi[fs]/s, "An AVIF image"],
  [/^.{4}ftyp(?:heic|heix|heim|heis|hevc|hevx|mif1|msf1)/s, "A HEIC photo"],
  [/^.{4}ftypavi[fs]/s, "An AVIF image"],
  [/^.{4}ftypcrx /s, "A Canon raw photo"],
  [/^.{4}ftyp(?:qt {2}|isom|iso[0-9]|mp4[0-9]|M4V |avc1|3gp.|dash)/s, "A video"],
  [/^.{4}(?:moov|mdat|wide)/s, "A video"],
  [/^\x1a\x45\xdf\xa3/, "A video"],
  [/^RIFF.{4}AVI /s, "A video"],
  [/^(?:\0{3}\x0cJXL \r\n\x87\n|\xff\x0a)/, "A JPEG XL image"],
  [/^(?:\0{3}\x0cjP {2}\r\n\x87\n|\xff\x4f\xff\x51)/, "A JPEG 2000 image"],
  [/^GIF8[79]a/, "A GIF"],
  [/^BM.{4}\0{4}/s, "A BMP image"],
  [/^(?:II\*\0|MM\0\*|II\+\0|MM\0\+|IIU\0|IIRO|FUJIFILMCCD-RAW)/, "A TIFF or raw photo"],
  [/^8BPS/, "A Photoshop file"],
  [/^\0\0[\x01\x02]\0/, "An icon"],
  [/^P[1-7][\s#]/, "A PNM image"],
  [/^qoif/, "A QOI image"],
  [/^%PDF/, "A PDF"],
  [/^(?:\xef\xbb\xbf)?\s{0,8}<(?:svg|\?xml)/, "An SVG or XML file"],
  [/^PK\x03\x04/, "A ZIP archive"],
  [/^(?:\x1f\x8b|7z\xbc\xaf|BZh[1-9]|\xfd7zXZ\0|\x28\xb5\x2f\xfd)/, "A compressed file"],
  [/^(?:RIFF.{4}WAVE|ID3|OggS|fLaC|.{4}ftypM4A )/s, "An audio file"],
  [/^\s{0,8}<(?:!doctype html|html)[\s>]/i, "An HTML page"],
  [/^\x01\x80[\0-\x05]/, "An AWS Encryption SDK message without key commitment"],
  [/^version https:\/\/git-lfs/, "A Git LFS pointer"],
];

/** The name of a file that is none of those that the enclave opens; null if it is unknown. */
export function otherFormat(content: Uint8Array): string | null {
  const start = String.fromCharCode(...content.subarray(0, 32));
  return OTHERS.find(([pattern]) => pattern.test(start))?.[1] ?? null;
}

// Files as browsers see them: sizes, names, and which way up.

/** A decoded picture, or null where this browser cannot show the file. */
export async function decoded(blob) {
  const image = Object.assign(new Image(), { alt: "" }); // what it is stands beside it
  image.src = URL.createObjectURL(blob);
  try {
    await image.decode();
    return image;
  } catch {
    return null;
  } finally {
    URL.revokeObjectURL(image.src); // what is decoded stays
  }
}

/**
 * The service's PNG as it must be shown beside `source`, of which it carries the EXIF block.
 *
 * Browsers turn a PNG as its EXIF says, and JPEG and AVIF too, but not a WebP: beside that the PNG is shown without.
 */
export async function shownBeside(source, png) {
  return (await source.slice(8, 12).text()) === "WEBP" ? withoutExif(png) : png;
}

async function withoutExif(png) {
  if (png.type !== "image/png") return png; // a small JPEG, which is measured by nobody
  const view = new DataView(await png.arrayBuffer());
  for (let at = 8; at + 12 <= view.byteLength; ) {
    const next = at + 12 + view.getUint32(at); // length, kind, data, checksum
    if (view.getUint32(at + 4) === 0x65584966) return new Blob([png.slice(0, at), png.slice(next)], { type: png.type }); // eXIf
    at = next;
  }
  return png;
}

/** Bits a channel of a file that the service made: of PNG from its header, of JPEG always 8. */
export async function depth(blob) {
  return blob.type === "image/png" ? new Uint8Array(await blob.slice(24, 25).arrayBuffer())[0] : 8;
}

/** 70 kB, 3.1 MB. */
export function humanBytes(count) {
  if (count < 1000) return `${count} B`;
  const [value, unit] = count < 999_500 ? [count / 1e3, "kB"] : [count / 1e6, "MB"];
  return `${Number(value.toPrecision(value < 10 ? 2 : 3))} ${unit}`;
}

/** photo_x2.png or photo_x2.jpg of photo.jpg, by the type of the small file. */
export function smallName(name, scale, type) {
  return `${stem(name)}_x${scale}.${type === "image/jpeg" ? "jpg" : "png"}`;
}

/** photo_restored.png of photo.jpg or photo_x2.png. */
export function restoredName(name) {
  return `${stem(name).replace(/_x[2348]$/, "")}_restored.png`;
}

function stem(name) {
  return name.replace(/\.[^.]+$/, "");
}

// A worker that makes the bicubic picture and measures both against the original, by the protocol of
// `unshrink compare`: 8 bits, over white, luma, a border of `scale` pixels cut. It measures the very files that the
// page shows; asking the service would run the network twice more.  And it writes the original as a JPEG in as many bytes
// as the small picture takes: what these bytes would have been worth otherwise.

import { enlarge, roundTrip, shrink } from "./bicubic.js";

const TILE = 48; // side of the place that the lens shows, in pixels
const QUALITIES = 100; // of JPEG, from 1 to this
const USUAL = 85; // what the service writes where none is asked for

/** {original or null, small, restored: blobs, scale} -> {bicubic, jpeg: blobs, psnr or null, place: [x, y]}, or {error}.
 *
 * The jpeg is null where no JPEG of the original is so small.
 */
self.onmessage = async ({ data }) => {
  try {
    self.postMessage(await measure(data));
  } catch (error) {
    self.postMessage({ error: error.message });
  }
};

async function measure({ original, small, restored, scale }) {
  const ours = await pixels(restored);
  if (!original) {
    const bicubic = enlarge(await pixels(small), scale, ours.width, ours.height);
    return { bicubic: await png(bicubic), psnr: null, place: worstPlace(ours, bicubic) };
  }
  const truth = await pixels(original);
  if (truth.width !== ours.width || truth.height !== ours.height) {
    throw new Error("this browser turns the two pictures differently");
  }
  const bicubic = small.type === "image/jpeg" ? await roundTripByJpeg(truth, scale) : roundTrip(truth, scale);
  const jpeg = await largestWithin(small.size, canvas(truth));
  const psnr = {
    restored: psnrY(truth, ours, scale),
    bicubic: psnrY(truth, bicubic, scale),
    jpeg: jpeg && psnrY(truth, await pixels(jpeg), scale),
  };
  return { bicubic: await png(bicubic), jpeg, psnr, place: worstPlace(truth, bicubic) };
}

/** As `roundTrip`, but the small picture is a JPEG file, as that of the service is. */
async function roundTripByJpeg(picture, scale) {
  const file = await jpegOf(canvas(shrink(picture, scale)), USUAL);
  return enlarge(await pixels(file), scale, picture.width, picture.height);
}

function jpegOf(picture, quality) {
  return picture.convertToBlob({ type: "image/jpeg", quality: quality / QUALITIES });
}

/** The JPEG of the highest quality, as this browser writes it, that has no more than so many bytes; null if none has. */
async function largestWithin(bytes, picture) {
  let [best, low, high] = [null, 1, QUALITIES];
  while (low <= high) {
    const middle = Math.floor((low + high) / 2);
    const file = await jpegOf(picture, middle);
    if (file.size <= bytes) [best, low] = [file, middle + 1];
    else high = middle - 1;
  }
  return best;
}

/** The values as stored, without colour management, over white. */
async function pixels(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const rgba = context.getImageData(0, 0, width, height).data;
  const data = new Uint8ClampedArray(3 * width * height);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    data[to++] = rgba[from];
    data[to++] = rgba[from + 1];
    data[to++] = rgba[from + 2];
  }
  return { width, height, data };
}

function png(picture) {
  return canvas(picture).convertToBlob();
}

function canvas({ width, height, data }) {
  const image = new ImageData(width, height);
  for (let from = 0, to = 0; from < data.length; ) {
    image.data[to++] = data[from++];
    image.data[to++] = data[from++];
    image.data[to++] = data[from++];
    image.data[to++] = 255;
  }
  const made = new OffscreenCanvas(width, height);
  made.getContext("2d").putImageData(image, 0, 0);
  return made;
}

/** Squared difference of the BT.601 luma at one pixel. */
function squaredError(a, b, at) {
  const red = a[at] - b[at];
  const green = a[at + 1] - b[at + 1];
  const blue = a[at + 2] - b[at + 2];
  return ((65.481 * red + 128.553 * green + 24.966 * blue) / 255) ** 2;
}

/** PSNR in dB of the luma; infinite where nothing differs. A picture too small for the border is kept whole. */
function psnrY(a, b, border) {
  const { width, height } = a;
  if (Math.min(width, height) <= 2 * border) border = 0;
  let sum = 0;
  for (let y = border; y < height - border; y++) {
    for (let x = border; x < width - border; x++) sum += squaredError(a.data, b.data, 3 * (y * width + x));
  }
  return 10 * Math.log10((255 ** 2 * (width - 2 * border) * (height - 2 * border)) / sum);
}

/** The middle of the tile in which the second picture errs most. */
function worstPlace(a, b) {
  const columns = Math.ceil(a.width / TILE);
  const errors = new Float64Array(columns * Math.ceil(a.height / TILE));
  for (let y = 0; y < a.height; y++) {
    for (let x = 0; x < a.width; x++) {
      errors[Math.floor(y / TILE) * columns + Math.floor(x / TILE)] += squaredError(a.data, b.data, 3 * (y * a.width + x));
    }
  }
  const worst = errors.indexOf(Math.max(...errors));
  return [((worst % columns) + 0.5) * TILE, (Math.floor(worst / columns) + 0.5) * TILE];
}

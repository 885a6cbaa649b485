// Antialiased bicubic resizing as MATLAB's imresize does it: what unshrink/resize.py does, so that the page shows the
// same bicubic that the tables measure. Pictures are {width, height, data}: RGB, 8 bits, row by row.

/** Makes a picture small by `scale` and large again, both in 8 bits, as ordinary resizing does. */
export function roundTrip(picture, scale) {
  return enlarge(shrink(picture, scale), scale, picture.width, picture.height);
}

/** Makes a picture small by `scale`; sides are rounded up. */
export function shrink(picture, scale) {
  return resize(padded(picture, scale), 1 / scale);
}

/** Enlarges a small picture to the given size, which is less than `scale` short of whole blocks. */
export function enlarge(small, scale, width, height) {
  return cropped(resize(small, scale), width, height);
}

function resize({ width, height, data }, ratio) {
  const rows = taps(height, Math.round(height * ratio), ratio);
  const columns = taps(width, Math.round(width * ratio), ratio);
  return alongRows(alongColumns({ width, height, data }, rows), columns);
}

/** For each of `length` places, where in the old row its taps lie, and their weights. */
function taps(old, length, ratio) {
  const stretch = Math.min(ratio, 1);
  const count = Math.ceil(4 / stretch) + 2;
  const index = new Int32Array(length * count);
  const weight = new Float32Array(length * count);
  for (let place = 0; place < length; place++) {
    const centre = (place + 0.5) / ratio - 0.5;
    const first = Math.floor(centre - 2 / stretch);
    const row = Array.from({ length: count }, (_, tap) => cubic(stretch * (centre - first - tap)));
    const total = row.reduce((sum, value) => sum + value);
    for (let tap = 0; tap < count; tap++) {
      index[place * count + tap] = mirrored(first + tap, old);
      weight[place * count + tap] = row[tap] / total;
    }
  }
  return { length, count, index, weight };
}

/** Keys' cubic convolution kernel with a = -0.5. */
function cubic(x) {
  x = Math.abs(x);
  if (x <= 1) return (1.5 * x - 2.5) * x * x + 1;
  return x <= 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

/** Beyond an edge the picture is reflected, its edge value repeated. */
function mirrored(index, length) {
  const place = ((index % (2 * length)) + 2 * length) % (2 * length);
  return place < length ? place : 2 * length - 1 - place;
}

function alongColumns({ width, data }, { length, count, index, weight }) {
  const stride = 3 * width;
  const result = new Float32Array(length * stride);
  for (let place = 0; place < length; place++) {
    for (let tap = place * count; tap < (place + 1) * count; tap++) {
      const factor = weight[tap];
      if (factor === 0) continue;
      let from = index[tap] * stride;
      for (let to = place * stride; to < (place + 1) * stride; to++) result[to] += factor * data[from++];
    }
  }
  return { width, height: length, data: result };
}

function alongRows({ width, height, data }, { length, count, index, weight }) {
  const result = new Uint8ClampedArray(height * length * 3); // rounds and clips
  for (let y = 0, to = 0; y < height; y++) {
    for (let place = 0; place < length; place++) {
      let [red, green, blue] = [0, 0, 0];
      for (let tap = place * count; tap < (place + 1) * count; tap++) {
        const from = 3 * (y * width + index[tap]);
        red += weight[tap] * data[from];
        green += weight[tap] * data[from + 1];
        blue += weight[tap] * data[from + 2];
      }
      result[to++] = red;
      result[to++] = green;
      result[to++] = blue;
    }
  }
  return { width: length, height, data: result };
}

/** With sides that are multiples of the scale, reflected at the right and the bottom without repeating the edge. */
function padded({ width, height, data }, scale) {
  const [wide, high] = [width, height].map((side) => Math.ceil(side / scale) * scale);
  const result = new Uint8ClampedArray(3 * wide * high);
  for (let y = 0; y < high; y++) {
    const row = data.subarray(3 * width * inside(y, height), 3 * width * (inside(y, height) + 1));
    result.set(row, 3 * wide * y);
    for (let x = width; x < wide; x++) {
      const from = 3 * inside(x, width);
      result.set(row.subarray(from, from + 3), 3 * (wide * y + x));
    }
  }
  return { width: wide, height: high, data: result };
}

function inside(index, length) {
  if (length === 1) return 0;
  const place = index % (2 * length - 2);
  return place < length ? place : 2 * length - 2 - place;
}

function cropped({ width, data }, wide, high) {
  const result = new Uint8ClampedArray(3 * wide * high);
  for (let y = 0; y < high; y++) result.set(data.subarray(3 * y * width, 3 * (y * width + wide)), 3 * y * wide);
  return { width: wide, height: high, data: result };
}

// The page: two tabs, each with a place to drop a file and what came of it.

import { Outcome, decibels } from "./outcome.js";
import { decoded, depth, humanBytes, restoredName, shownBeside, smallName } from "./pictures.js";
import { Refusal, transform, useKey, weights } from "./service.js";

const LARGE = 1e6; // pixels of the large picture, times the runs of the network, above which work goes as a job

let installed = []; // the weights, as the service lists them

/** Measures in a worker; what cannot be measured (memory, a browser that distrusts canvases) is told, not fatal. */
function measured(pictures) {
  const worker = new Worker(new URL("measure.js", import.meta.url), { type: "module" });
  return new Promise((resolve) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = () => resolve({ error: "the browser stopped the measurement" });
    worker.postMessage(pictures);
  }).finally(() => worker.terminate());
}

// -- make small ----------------------------------------------------------------------------------------------------

async function makeSmall(file, options, outcome, signal) {
  outcome.stage("Making the small picture…");
  const progress = (fraction) => outcome.progress(fraction);
  const original = await decoded(file);
  const pixels = original ? original.naturalWidth * original.naturalHeight : file.size; // a guess by its bytes
  const how = { large: pixels * (1 + 2 * (options.effort ?? 0)) > LARGE, signal, progress };
  const small = await transform("downscale", file, options, how);
  outcome.stage(`The small picture has ${humanBytes(small.blob.size)}. Bringing the large one back…`);
  const restored = await transform("upscale", small.blob, {}, { ...how, large: pixels > LARGE });
  outcome.stage("Measuring…");
  const shown = {
    original: original && file,
    small: await shownBeside(file, small.blob),
    restored: await shownBeside(file, restored.blob),
  };
  const figures = await measured({ ...shown, scale: small.scale });
  const { bicubic, jpeg } = figures;
  const images = await allDecoded({ small: shown.small, bicubic, jpeg, restored: shown.restored });
  signal.throwIfAborted();
  outcome.show({
    ...gain(figures.psnr, file, small),
    notes: await notes(file, original, small, figures),
    warning: warning(small, restored),
    rows: [
      { name: "Original", size: size(images.restored), bytes: file.size },
      { name: "Small", size: size(images.small), bytes: small.blob.size, seconds: small.seconds },
      { name: "Restored", size: size(images.restored), bytes: restored.blob.size, psnr: figures.psnr?.restored, seconds: restored.seconds },
      ...(figures.psnr ? [{ name: "Bicubic", size: size(images.bicubic), psnr: figures.psnr.bicubic }] : []),
      ...(jpeg ? [{ name: "JPEG", size: size(images.jpeg), bytes: jpeg.size, psnr: figures.psnr.jpeg }] : []),
    ],
    downloads: [
      { label: "Download small", name: smallName(file.name, small.scale, small.blob.type), blob: small.blob },
      { label: "Download restored", name: restoredName(file.name), blob: restored.blob },
    ],
    small: images.small,
    pictures: named({ Original: original, Bicubic: images.bicubic, JPEG: images.jpeg, Restored: images.restored }),
    place: figures.place ?? [0, 0],
  });
}

/** What is won, in words. */
function gain(psnr, file, small) {
  const parts = `${fraction(small.scale)} of the pixels and ${percent(small.blob.size / file.size)} of the file's bytes`;
  if (!psnr) return { headline: `${small.scale} times smaller, and back`, summary: `The small picture has ${parts}.` };
  const better = psnr.restored - psnr.bicubic;
  const headline = Number.isFinite(better)
    ? `${better < 0 ? "−" : "+"}${Math.abs(better).toFixed(1)} dB over bicubic`
    : psnr.restored === Infinity ? "Back exactly" : "Bicubic is exact here";
  const inBytes = psnr.jpeg === null ? "no JPEG of it is so small" : `a JPEG of it in as many bytes has ${decibels(psnr.jpeg)}`;
  return {
    headline,
    summary: `With ${parts}, the photo comes back at ${decibels(psnr.restored)}; ordinary resizing brings back ${decibels(psnr.bicubic)}, and ${inBytes}.`,
  };
}

function fraction(scale) {
  return { 2: "a quarter", 4: "a sixteenth", 8: "a sixty-fourth" }[scale] ?? `1/${scale ** 2}`;
}

function percent(part) {
  return `${(100 * part).toFixed(part < 0.1 ? 1 : 0)} %`;
}

async function notes(file, original, { blob: small, model }, figures) {
  const found = [];
  if (!original) found.push("This browser cannot show files of this kind, so bicubic enlarges the small picture, and nothing is measured.");
  if (figures.error) found.push(`Nothing is measured: ${figures.error}.`);
  const made = installed.find(({ name }) => name === model);
  if (small.type === "image/jpeg" && !made?.lossy) found.push("No weights for JPEG are installed at this scale: with those for exact values, far less comes back.");
  if (small.type === "image/png" && small.size > file.size) found.push("The small file is stored without loss, which here takes more bytes than the photo.");
  if ((await depth(small)) === 16) found.push("Shown with 8 bits a channel; the files keep 16.");
  return found;
}

/** What the service has to say of its answers. */
function warning(...answers) {
  return answers.flatMap(({ notes }) => notes ?? []).join("; ");
}

// -- bring back ----------------------------------------------------------------------------------------------------

async function bringBack(file, options, outcome, signal) {
  outcome.stage("Bringing the large picture back…");
  const small = await decoded(file);
  const pixels = small ? 16 * small.naturalWidth * small.naturalHeight : file.size; // a guess: the scale is in the file
  const how = { large: pixels > LARGE, signal, progress: (fraction) => outcome.progress(fraction) };
  const restored = await transform("upscale", file, options, how);
  const shown = await shownBeside(file, restored.blob);
  const figures = small ? await measured({ original: null, small: file, restored: shown, scale: restored.scale }) : {};
  const images = await allDecoded({ bicubic: figures.bicubic, restored: shown });
  signal.throwIfAborted();
  const [width, height] = size(images.restored);
  outcome.show({
    headline: `${width} × ${height} pixels again`,
    summary: `From ${small ? `${size(small).join(" × ")} pixels and ` : ""}${humanBytes(file.size)}, by the weights ${restored.model}.`,
    notes: [
      small
        ? "Bicubic: the small picture enlarged by ordinary resizing."
        : "This browser cannot show the small file, so there is nothing to compare with.",
    ],
    warning: warning(restored),
    rows: [
      { name: "Small", size: size(small), bytes: file.size },
      { name: "Restored", size: [width, height], bytes: restored.blob.size, seconds: restored.seconds },
    ],
    downloads: [{ label: "Download restored", name: restoredName(file.name), blob: restored.blob }],
    small,
    pictures: named({ Bicubic: images.bicubic, Restored: images.restored }),
    place: figures.place ?? [0, 0],
  });
}

async function allDecoded(blobs) {
  const images = await Promise.all(Object.values(blobs).map((blob) => blob && decoded(blob)));
  return Object.fromEntries(Object.keys(blobs).map((name, index) => [name, images[index]]));
}

function named(images) {
  return new Map(Object.entries(images).filter(([, image]) => image));
}

function size(image) {
  return image && [image.naturalWidth, image.naturalHeight];
}

// -- tabs, files, options ------------------------------------------------------------------------------------------

/** One tab: its form, what came of its last file, and the work in hand, which a newer file replaces. */
class Tab {
  constructor(name, work) {
    this.panel = document.querySelector(`#panel-${name}`);
    this.button = document.querySelector(`#tab-${name}`);
    this.form = this.panel.querySelector("form");
    this.work = work;
    this.outcome = new Outcome(this.panel);
    this.outcome.onCancel = () => this.hand.abort();
    this.hand = new AbortController();
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("change", ({ target }) => {
      if (target.name !== "file" && this.files) this.take(this.files);
    });
    this.form.elements.file.addEventListener("change", ({ target }) => {
      this.take(target.files);
      target.value = ""; // so that the same file can be chosen again
    });
  }

  get options() {
    const { scale, effort, model, format } = this.form.elements;
    return {
      ...(format?.value === "jpeg" && { format: "jpeg", lossy: true }),
      ...(scale?.value && { scale: scale.value }),
      ...(Number(effort?.value) && { effort: Number(effort.value) }),
      ...(model?.value && { model: model.value }),
    };
  }

  /** Does files one after the other; several are listed as they are done, and the last one is shown. */
  async take(files) {
    this.files = [...(files ?? [])];
    if (!this.files.length) return;
    this.hand.abort();
    const { signal } = (this.hand = new AbortController());
    this.panel.classList.add("taken");
    this.outcome.begin();
    for (const file of this.files) {
      this.outcome.stop();
      const refused = await this.#do(file, signal);
      if (signal.aborted) return; // given up, or newer files have taken over
      if (this.files.length > 1) this.outcome.keep(file.name, refused);
    }
  }

  /** Why a file was refused, in a sentence; "" where it was not. */
  async #do(file, signal) {
    try {
      await this.work(file, this.options, this.outcome, signal);
      return "";
    } catch (error) {
      if (signal !== this.hand.signal) return ""; // newer files have taken over
      this.outcome.stop(error.name === "AbortError" ? "" : error.message);
      if (error.name !== "AbortError" && !(error instanceof Refusal)) throw error; // a mistake in the page
      return error.message;
    }
  }
}

const tabs = [new Tab("small", makeSmall), new Tab("large", bringBack)];
let open = tabs[0];

function select(tab) {
  open = tab;
  for (const { button, panel } of tabs) {
    const chosen = button === tab.button;
    button.setAttribute("aria-selected", chosen);
    button.tabIndex = chosen ? 0 : -1;
    panel.hidden = !chosen;
  }
}

for (const [index, tab] of tabs.entries()) {
  tab.button.addEventListener("click", () => select(tab));
  tab.button.addEventListener("keydown", ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (!step) return;
    const next = tabs[(index + step + tabs.length) % tabs.length];
    select(next);
    next.button.focus();
  });
}

document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", ({ relatedTarget }) => {
  if (!relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  open.take(event.dataTransfer.files);
});
document.addEventListener("paste", ({ clipboardData }) => open.take(clipboardData.files));

const [small, large] = tabs;
small.form.querySelector(".sample").addEventListener("click", async () => {
  const sample = await (await fetch(new URL("sample.png", import.meta.url))).blob();
  small.take([new File([sample], "chelsea.png", { type: sample.type })]);
});
small.form.elements.effort.addEventListener("input", ({ target }) => (small.form.elements.level.value = target.value));

function scaleChoice(scale, index) {
  const label = document.createElement("label");
  const input = Object.assign(document.createElement("input"), { type: "radio", name: "scale", value: scale, checked: !index });
  label.append(input, `×${scale}`);
  return label;
}

/** Asks what weights there are; where the service wants a key, for that first. */
async function begin() {
  const form = document.querySelector(".key");
  try {
    installed = await weights();
    const scales = [...new Set(installed.map(({ scale }) => scale))].sort((a, b) => a - b);
    small.form.querySelector(".scales").append(...scales.map(scaleChoice));
    large.form.elements.model.append(...installed.map(({ name }) => new Option(name)));
    form.hidden = true;
  } catch (error) {
    if (error.status !== 401) return small.outcome.stop(error.message);
    form.querySelector(".refusal").hidden = form.hidden;
    form.querySelector(".refusal").textContent = error.message;
    form.hidden = false;
  }
}

document.querySelector(".key").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(event.target.elements.key.value);
  begin();
});
document.querySelector(".host").textContent = location.host;
begin();

// What is shown of one picture: progress, a refusal, or the pictures with their numbers and downloads.

import { humanBytes } from "./pictures.js";
import { Viewer } from "./viewer.js";

const TICK = 200; // milliseconds between two updates of the seconds

export class Outcome {
  /** @param panel the tab panel to append to. */
  constructor(panel) {
    panel.append(document.querySelector("#outcome").content.cloneNode(true));
    this.root = panel.querySelector(".outcome");
    this.find = (selector) => this.root.querySelector(selector);
    this.viewer = new Viewer(this.root);
    this.onCancel = () => {};
    this.find(".cancel").addEventListener("click", () => this.onCancel());
  }

  /** Empties the list of files that are done. */
  begin() {
    for (const { href } of this.root.querySelectorAll(".several a")) URL.revokeObjectURL(href);
    this.find(".several").replaceChildren();
    this.find(".several").hidden = true;
    this.shown = null;
  }

  /** Adds a file to the list: what came out of it was shown last, or a sentence says why nothing did. */
  keep(name, sentence = "") {
    const line = element("li", {});
    line.append(element("strong", { textContent: name }), element("span", { textContent: sentence || this.shown.headline }));
    if (!sentence) line.append(...this.shown.downloads.map(({ label, name, blob }) => link(name, blob, label)));
    this.find(".several").append(line);
    this.find(".several").hidden = false;
  }

  /** Says what is being done; the time runs from the first stage on. */
  stage(text) {
    this.find(".refusal").hidden = true;
    this.find(".busy").hidden = false;
    this.find(".result").inert = true;
    this.find(".stage").textContent = text;
    this.#announce(text);
    this.progress(null);
    if (this.timer) return;
    const began = performance.now();
    const tick = () => (this.find(".elapsed").textContent = `${seconds(performance.now() - began)}${this.#left()}`);
    tick();
    this.timer = setInterval(tick, TICK);
  }

  /** How far the stage is: 0 to 1, or null where that is not known, as while a job waits for its turn. */
  progress(fraction) {
    const bar = this.find("progress");
    if (fraction === null) bar.removeAttribute("value");
    else bar.value = fraction;
    if (fraction === null || fraction < (this.fraction ?? 0)) this.moving = null;
    else this.moving ??= { since: performance.now(), from: fraction };
    this.fraction = fraction;
  }

  /** ", 40 %, 12 s left": by how fast it went since it began to move; nothing where that is not known. */
  #left() {
    if (!this.fraction) return "";
    const share = `, ${Math.floor(100 * this.fraction)} %`;
    const done = this.fraction - this.moving.from;
    return done > 0 ? `${share}, ${seconds(((performance.now() - this.moving.since) * (1 - this.fraction)) / done)} left` : share;
  }

  /** Ends the work: with a sentence where it was refused, without where it was given up. */
  stop(sentence = "") {
    this.#rest();
    this.find(".refusal").hidden = !sentence;
    this.find(".refusal").textContent = sentence;
    if (sentence) this.find(".result").hidden = true;
  }

  /**
   * Shows what came out.
   *
   * @param headline, summary, notes, warning: sentences.
   * @param rows of the table: {name, size, bytes, psnr, seconds}, what is unknown left out.
   * @param downloads {label, name, blob}.
   * @param small decoded image, or null where the browser cannot show it.
   * @param pictures, place for the viewer.
   */
  show({ headline, summary, notes, warning, rows, downloads, small, pictures, place }) {
    this.#rest();
    this.shown = { headline, downloads };
    this.find(".result").hidden = false;
    this.find(".gain h2").textContent = headline;
    this.find(".summary").textContent = summary;
    this.find(".note").textContent = notes.join(" ");
    this.find(".warning").hidden = !warning;
    this.find(".warning").textContent = warning;
    this.find("tbody").replaceChildren(...rows.map(row));
    this.root.classList.toggle("unmeasured", !rows.some(({ psnr }) => psnr !== undefined));
    this.#download(downloads);
    this.find(".small").hidden = !small;
    if (small) this.find(".well").replaceChildren(small);
    this.viewer.show(pictures, place);
    this.#announce(`Done. ${headline}. ${summary} ${warning}`);
  }

  #download(downloads) {
    for (const { href } of this.root.querySelectorAll(".downloads a")) URL.revokeObjectURL(href);
    this.find(".downloads").replaceChildren(
      ...downloads.map(({ label, name, blob }) => {
        const button = Object.assign(link(name, blob), { className: "button" });
        button.append(element("strong", { textContent: label }), element("span", { textContent: `${name}, ${humanBytes(blob.size)}` }));
        return button;
      }),
    );
  }

  #rest() {
    clearInterval(this.timer);
    this.timer = null;
    this.find(".result").inert = false;
    this.find(".busy").hidden = true;
  }

  #announce(text) {
    this.find(".announce").textContent = text;
  }
}

function row({ name, size, bytes, psnr, seconds }) {
  const cells = [
    size ? `${size[0]} × ${size[1]}` : "",
    bytes ? humanBytes(bytes) : "",
    psnr === undefined ? "" : decibels(psnr),
    seconds ? seconds.toFixed(seconds < 10 ? 1 : 0) : "",
  ];
  const line = document.createElement("tr");
  line.append(element("th", { scope: "row", textContent: name }), ...cells.map((textContent) => element("td", { textContent })));
  return line;
}

function seconds(milliseconds) {
  return `${(milliseconds / 1000).toFixed(0)} s`;
}

/** 34.56 dB, or "exact" where nothing differs. */
export function decibels(value) {
  return Number.isFinite(value) ? `${value.toFixed(2)} dB` : "exact";
}

/** A link that saves a file. */
function link(name, blob, textContent = "") {
  return element("a", { download: name, href: URL.createObjectURL(blob), textContent });
}

function element(name, properties) {
  return Object.assign(document.createElement(name), properties);
}

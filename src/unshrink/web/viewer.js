// Two pictures under a divider, with zoom, and a lens that shows one place of every picture side by side.

const ZOOMS = [null, 1, 2, 4, 8]; // CSS pixels a pixel; null fits the picture into the frame
const LARGEST_FIT = 2; // small pictures are enlarged at most so much to fill the frame
const TALLEST_FIT = 0.7; // of the window's height
const LENS = 48; // side of the place under the lens, in pixels
const LENS_ZOOM = 6; // canvas pixels a pixel under the lens
const STEP = 8; // pixels that an arrow key moves the lens

export class Viewer {
  /** @param root an element with the parts .viewer and .lens of the page's template. */
  constructor(root) {
    this.root = root;
    this.find = (selector) => root.querySelector(selector);
    this.slider = this.find("img-comparison-slider");
    this.scroller = this.find(".scroller");
    this.pictures = new Map(); // name -> decoded image; the last one is right of the divider
    this.zoom = 0;
    this.place = [0, 0];
    this.#listen();
  }

  /** Shows pictures of one size: a map from name to decoded image, of which the last is right of the divider. */
  show(pictures, place) {
    this.pictures = pictures;
    const names = [...pictures.keys()];
    this.right = names.pop();
    this.find(".sides").hidden = names.length < 2;
    this.find(".sides").replaceChildren(this.find(".sides legend"), ...names.map((name) => this.#choice(name)));
    this.find(".lens").replaceChildren(...[...pictures.keys()].map(lensFigure));
    this.#slot("second", pictures.get(this.right));
    this.#setSide(names.includes(this.left) ? this.left : names[0]);
    this.#setZoom(0);
    this.#setValue(50);
    this.#look(...place);
  }

  get #size() {
    const { naturalWidth, naturalHeight } = this.pictures.get(this.right) ?? { naturalWidth: 1, naturalHeight: 1 };
    return [naturalWidth, naturalHeight];
  }

  /** CSS pixels a pixel. */
  get #factor() {
    const [width, height] = this.#size;
    const room = [this.scroller.clientWidth / width, (TALLEST_FIT * window.innerHeight) / height];
    return ZOOMS[this.zoom] ?? Math.min(LARGEST_FIT, ...room);
  }

  #listen() {
    this.slider.addEventListener("slide", () => this.#announce());
    onKeys(this.slider, {
      Home: () => this.#setValue(0),
      End: () => this.#setValue(100),
      PageDown: () => this.#setValue(this.slider.value - 10),
      PageUp: () => this.#setValue(this.slider.value + 10),
    });
    for (const kind of ["pointermove", "pointerdown"]) {
      this.slider.addEventListener(kind, ({ clientX, clientY }) => {
        const { left, top } = this.slider.getBoundingClientRect();
        this.#look((clientX - left) / this.#factor, (clientY - top) / this.#factor);
      });
    }
    this.find(".in").addEventListener("click", () => this.#setZoom(this.zoom + 1));
    this.find(".out").addEventListener("click", () => this.#setZoom(this.zoom - 1));
    onKeys(this.find(".viewer"), {
      "+": () => this.#setZoom(this.zoom + 1),
      "=": () => this.#setZoom(this.zoom + 1),
      "-": () => this.#setZoom(this.zoom - 1),
      0: () => this.#setZoom(0),
    });
    onKeys(this.find(".lens"), {
      ArrowLeft: () => this.#look(this.place[0] - STEP, this.place[1]),
      ArrowRight: () => this.#look(this.place[0] + STEP, this.place[1]),
      ArrowUp: () => this.#look(this.place[0], this.place[1] - STEP),
      ArrowDown: () => this.#look(this.place[0], this.place[1] + STEP),
    });
    this.scroller.addEventListener("scroll", () => this.#keepHandleInSight());
    new ResizeObserver(() => this.#layOut()).observe(this.find(".frame"));
  }

  #choice(name) {
    const label = document.createElement("label");
    const group = `${this.root.parentElement.id}-side`;
    const input = Object.assign(document.createElement("input"), { type: "radio", name: group, value: name });
    input.addEventListener("change", () => this.#setSide(name));
    label.append(input, name);
    return label;
  }

  #setSide(name) {
    this.left = name;
    for (const input of this.root.querySelectorAll(".sides input")) input.checked = input.value === name;
    this.#slot("first", this.pictures.get(name) ?? "");
    this.find(".tag.left").textContent = name ?? "";
    this.find(".tag.right").textContent = this.right;
    this.#announce();
  }

  #slot(name, image) {
    this.slider.querySelector(`[slot=${name}]`).replaceChildren(image);
  }

  #setValue(value) {
    this.slider.value = Math.min(100, Math.max(0, value));
    this.#announce();
  }

  #announce() {
    const value = Math.round(this.slider.value);
    this.slider.setAttribute("aria-valuenow", value);
    this.slider.setAttribute("aria-valuetext", `${value} % ${this.left ?? "empty"}, ${100 - value} % ${this.right}`);
  }

  #setZoom(level) {
    this.zoom = Math.min(ZOOMS.length - 1, Math.max(0, level));
    const zoom = ZOOMS[this.zoom];
    this.find(".level").textContent = zoom ? `${100 * zoom} %` : "Fit";
    this.find(".out").disabled = this.zoom === 0;
    this.find(".in").disabled = this.zoom === ZOOMS.length - 1;
    this.root.classList.toggle("enlarged", zoom >= 2);
    // A finger must be able to move an enlarged picture; then only the handle moves the divider.
    this.slider.handle = zoom !== null && window.matchMedia("(pointer: coarse)").matches;
    this.#layOut();
    if (zoom) this.#centre();
  }

  /** Brings the place under the lens to the middle, and the divider with it. */
  #centre() {
    const [x, y] = this.place.map((side) => side * this.#factor);
    this.scroller.scrollTo(x - this.scroller.clientWidth / 2, y - this.scroller.clientHeight / 2);
    this.#setValue((100 * this.place[0]) / this.#size[0]);
  }

  #layOut() {
    const [width, height] = this.#size;
    const canvas = this.find(".canvas");
    canvas.style.width = `${width * this.#factor}px`;
    canvas.style.height = `${height * this.#factor}px`;
    this.#mark();
    this.#keepHandleInSight();
  }

  #keepHandleInSight() {
    const { scrollTop, clientHeight, scrollHeight } = this.scroller;
    const middle = (scrollTop + clientHeight / 2) / scrollHeight;
    this.slider.style.setProperty("--handle-position-start", `${100 * middle}%`);
  }

  /** Puts the lens over a place, as far as the picture reaches. */
  #look(x, y) {
    this.place = [x, y].map((at, axis) => {
      const [half, side] = [LENS / 2, this.#size[axis]];
      return Math.round(Math.max(Math.min(at, side - half), Math.min(half, side / 2)));
    });
    this.#mark();
    for (const [index, image] of [...this.pictures.values()].entries()) {
      draw(this.root.querySelectorAll(".lens canvas")[index], image, this.place);
    }
  }

  #mark() {
    const spot = this.find(".spot").style;
    const [left, top] = this.place.map((at) => (at - LENS / 2) * this.#factor);
    spot.transform = `translate(${left}px, ${top}px)`;
    spot.width = spot.height = `${LENS * this.#factor}px`;
  }
}

/** Does something on some keys, pressed without others, and nothing else on them. */
function onKeys(element, actions) {
  element.addEventListener("keydown", (event) => {
    if (!(event.key in actions) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    actions[event.key]();
  });
}

function lensFigure(name) {
  const figure = document.createElement("figure");
  const canvas = Object.assign(document.createElement("canvas"), { width: LENS * LENS_ZOOM, height: LENS * LENS_ZOOM });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${name}, enlarged`);
  const caption = document.createElement("figcaption");
  caption.textContent = name;
  figure.append(canvas, caption);
  return figure;
}

function draw(canvas, image, [x, y]) {
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, x - LENS / 2, y - LENS / 2, LENS, LENS, 0, 0, canvas.width, canvas.height);
}

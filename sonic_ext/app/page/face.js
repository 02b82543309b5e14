// @ts-check
/** `<sonic-face>`: the face on a picture, to be moved by hand. */

import { PLACED } from "./draft.js";
import { fill, h } from "./dom.js";
import { grip, within } from "./grip.js";
import { View } from "./view.js";
import { t } from "./words.js";

/** @typedef {import("./draft.js").Draft} Draft */
/** @typedef {"mouth" | "eyes"} Pair */

/** Pixels that a face box has at least, as the server wants it. */
const SMALLEST = 16;
/** Where mouth corners and eye centres are in a face box, as shares of it. */
const USUAL = { mouth: [0.32, 0.76, 0.68, 0.76], eyes: [0.3, 0.38, 0.7, 0.38] };

/** The box, and mouth corners and eye centres once they are placed; all in pixels of the picture. */
export class FaceEditor extends View {
  /** @type {Draft} */
  draft = /** @type {any} */ (undefined);
  /** @type {HTMLImageElement} Loaded, and so turned as its EXIF data say. */
  picture = /** @type {any} */ (undefined);
  #frame = h("div", { class: "frame" });
  #face = h("div", { class: "face", role: "group", "aria-label": t("Face") });
  #hole = h("div", { class: "hole" });
  /** @type {{ element: HTMLElement, name: Pair, at: number }[]} */
  #points = [];
  #hint = h("p", { class: "quiet small", role: "status" });
  #place = h("button", { onclick: () => this.draft.set({ face_box: this.#middle() }) }, t("Place the face by hand"));
  #pairs = h("button", { onclick: () => this.#placePairs() });
  #again = h("button", { onclick: () => this.draft.set({ face_box: null, mouth: null, eyes: null }) }, t("Find the face again"));

  show() {
    const shape = this.#width / this.#height;
    this.#frame.style.aspectRatio = String(shape);
    this.#frame.style.setProperty("--shape", String(shape));
    this.#points = [
      this.#point("mouth", 0, t("Left mouth corner")),
      this.#point("mouth", 2, t("Right mouth corner")),
      this.#point("eyes", 0, t("Left eye")),
      this.#point("eyes", 2, t("Right eye")),
    ];
    fill(this.#face, ...this.#grips());
    fill(this.#frame, this.picture, h("div", { class: "shade" }, this.#hole), this.#face, ...this.#points.map(({ element }) => element));
    fill(this, this.#frame, this.#hint, h("div", { class: "row" }, this.#place, this.#pairs, this.#again));
    this.draft.on(["settings", "face", "problem"], () => this.#look(), this.gone);
  }

  get #width() {
    return this.picture.naturalWidth;
  }

  get #height() {
    return this.picture.naturalHeight;
  }

  /** left, top, right, bottom: given by hand or found. @returns {number[] | null} */
  get #box() {
    return this.draft.values.face_box ?? this.draft.face?.box ?? null;
  }

  /** What moves the box, and its corners. */
  #grips() {
    const middle = h("button", { class: "middle", "aria-label": t("Face box: arrow keys move it") });
    this.#grip(middle, () => this.#moved());
    return [
      middle,
      this.#corner("nw", 0, 1, t("Face box, top left corner")),
      this.#corner("ne", 2, 1, t("Face box, top right corner")),
      this.#corner("sw", 0, 3, t("Face box, bottom left corner")),
      this.#corner("se", 2, 3, t("Face box, bottom right corner")),
    ];
  }

  #moved() {
    const [left, top, right, bottom] = this.#box ?? this.#middle();
    return (/** @type {number} */ dx, /** @type {number} */ dy) => {
      const [x, y] = [within(dx, -left, this.#width - right), within(dy, -top, this.#height - bottom)];
      this.draft.set({ face_box: [left + x, top + y, right + x, bottom + y].map(Math.round) });
    };
  }

  /**
   * @param {string} at
   * @param {number} side index of left or right
   * @param {number} edge index of top or bottom
   * @param {string} label
   */
  #corner(at, side, edge, label) {
    const corner = h("button", { class: `corner ${at}`, "aria-label": label });
    this.#grip(corner, () => {
      const start = this.#box ?? this.#middle();
      return (dx, dy) => {
        const next = [...start];
        next[side] = side ? within(start[2] + dx, start[0] + SMALLEST, this.#width) : within(start[0] + dx, 0, start[2] - SMALLEST);
        next[edge] = edge === 3 ? within(start[3] + dy, start[1] + SMALLEST, this.#height) : within(start[1] + dy, 0, start[3] - SMALLEST);
        this.draft.set({ face_box: next.map(Math.round) });
      };
    });
    return corner;
  }

  /** @param {Pair} name @param {number} at @param {string} label */
  #point(name, at, label) {
    const element = h("button", { class: `point ${name}`, "aria-label": label, title: label });
    this.#grip(element, () => {
      const start = this.draft.values[name];
      return (dx, dy) => {
        const next = [...start];
        next[at] = Math.round(within(start[at] + dx, 0, this.#width - 1));
        next[at + 1] = Math.round(within(start[at + 1] + dy, 0, this.#height - 1));
        this.draft.set({ [name]: next });
      };
    });
    return { element, name, at };
  }

  /** @param {HTMLElement} element @param {() => (dx: number, dy: number) => void} begin */
  #grip(element, begin) {
    const scale = () => this.#width / this.#frame.getBoundingClientRect().width;
    grip(element, { scale, step: () => Math.max(1, Math.round(this.#width / 400)), begin });
  }

  #placePairs() {
    if (this.#paired) return this.draft.set({ mouth: null, eyes: null });
    const box = this.#box ?? this.#middle();
    this.draft.set({ face_box: box, mouth: inside(box, USUAL.mouth), eyes: inside(box, USUAL.eyes) });
  }

  get #paired() {
    return Boolean(this.draft.values.mouth ?? this.draft.values.eyes);
  }

  /** Where no face was found. */
  #middle() {
    const [x, y, half] = [this.#width / 2, this.#height / 2, Math.min(this.#width, this.#height) / 4];
    return [x - half, y - half, x + half, y + half].map(Math.round);
  }

  #look() {
    const { draft } = this;
    const box = this.#box;
    this.#face.hidden = this.#hole.hidden = !box;
    this.#face.classList.toggle("given", Boolean(draft.values.face_box));
    if (box) for (const each of [this.#face, this.#hole]) this.#put(each, box[0], box[1], box[2] - box[0], box[3] - box[1]);
    for (const { element, name, at } of this.#points) {
      const pair = draft.values[name];
      element.hidden = !pair;
      if (pair) this.#put(element, pair[at], pair[at + 1]);
    }
    this.#place.hidden = Boolean(box);
    this.#again.hidden = !PLACED.some((name) => draft.values[name]);
    this.#pairs.textContent = this.#paired ? t("Remove mouth and eyes") : t("Place mouth and eyes");
    this.#say(box ? t("Drag the box where it does not fit the face.") : draft.problem ? "" : t("Looking for the face…"));
  }

  /** @param {HTMLElement} element @param {number} left @param {number} top @param {number} [width] @param {number} [height] */
  #put(element, left, top, width, height) {
    const [x, y] = [100 / this.#width, 100 / this.#height];
    Object.assign(element.style, { left: `${left * x}%`, top: `${top * y}%` });
    if (width !== undefined && height !== undefined) Object.assign(element.style, { width: `${width * x}%`, height: `${height * y}%` });
  }

  /** @param {string} text */
  #say(text) {
    if (this.#hint.textContent !== text) this.#hint.textContent = text;
    this.#hint.hidden = !text;
  }
}

customElements.define("sonic-face", FaceEditor);

/** @param {number[]} box @param {number[]} shares x and y by turns */
function inside([left, top, right, bottom], shares) {
  return shares.map((share, each) => Math.round(each % 2 ? top + share * (bottom - top) : left + share * (right - left)));
}

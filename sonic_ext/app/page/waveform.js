// @ts-check
/** `<sonic-waveform>`: a sound, two handles around the part of it that is used, and a button to hear that. */

import { fill, h, icon } from "./dom.js";
import { grip, within } from "./grip.js";
import { ICONS } from "./notes.js";
import { peaks } from "./sound.js";
import { View } from "./view.js";
import { duration, t } from "./words.js";

/** Path of a drawing, 24 units. */
export const STOP = "M7 7h10v10H7z";
/** Seconds that a part has at least. */
const SHORTEST = 0.2;
/** Seconds of one press of an arrow key. */
const STEP = 0.05;

export class Waveform extends View {
  /** @type {import("./draft.js").Speech} */
  speech = /** @type {any} */ (undefined);
  /** @type {AudioBuffer} Of the speech. */
  sound = /** @type {any} */ (undefined);
  /** @type {() => void} Told whenever another part is chosen. */
  changed = () => undefined;
  #canvas = h("canvas", { class: "wave", "aria-hidden": "true" });
  #chosen = h("div", { class: "chosen" });
  #head = h("div", { class: "playhead", hidden: true });
  #waves = h("div", { class: "waves" });
  #begin = this.#handle("begin", t("Begin"), () => {
    const { from, to } = this.speech;
    return (dx) => this.#choose(within(from + dx, 0, to - this.#shortest), to);
  });
  #end = this.#handle("end", t("End"), () => {
    const { from, to } = this.speech;
    return (dx) => this.#choose(from, within(to + dx, from + this.#shortest, this.sound.duration));
  });
  #length = h("p", { class: "quiet small number" });
  #whole = h("button", { class: "plain", onclick: () => this.#choose(0, this.sound.duration) }, t("Use all of it"));
  #play = h("button", { onclick: () => (this.#playing ? this.#silence() : this.#hear()) });
  /** @type {AudioContext | null} */
  #playing = null;

  show() {
    fill(this.#waves, this.#canvas, this.#chosen, this.#head, this.#begin, this.#end);
    fill(this, this.#waves, h("div", { class: "row" }, this.#play, this.#length, this.#whole));
    const watcher = new ResizeObserver(() => drawn(this.#canvas, this.sound));
    watcher.observe(this.#waves);
    this.state.on("view", () => this.checkVisibility() || this.#silence(), this.gone);
    this.gone.addEventListener("abort", () => (watcher.disconnect(), this.#silence()));
    this.#silence();
    this.#look();
  }

  get #shortest() {
    return Math.min(SHORTEST, this.sound.duration);
  }

  /**
   * @param {string} name
   * @param {string} label
   * @param {() => (dx: number) => void} begin
   */
  #handle(name, label, begin) {
    const handle = h("div", { class: `trim ${name}`, role: "slider", tabIndex: 0, "aria-label": label, "aria-orientation": "horizontal" });
    const scale = () => this.sound.duration / this.#waves.getBoundingClientRect().width;
    grip(handle, { scale, step: () => STEP, begin });
    return handle;
  }

  /** @param {number} from @param {number} to */
  #choose(from, to) {
    Object.assign(this.speech, { from, to });
    this.#look();
    this.changed();
  }

  #look() {
    const { from, to, trimmed } = this.speech;
    const whole = this.sound.duration;
    this.#begin.style.left = this.#chosen.style.left = `${(from / whole) * 100}%`;
    this.#end.style.left = `${(to / whole) * 100}%`;
    this.#chosen.style.width = `${((to - from) / whole) * 100}%`;
    valued(this.#begin, from, 0, to);
    valued(this.#end, to, from, whole);
    this.#whole.hidden = !trimmed;
    this.#length.textContent = trimmed ? `${duration(to - from)} / ${duration(whole)}` : duration(whole);
  }

  /** Play the part. */
  #hear() {
    const context = (this.#playing = new AudioContext());
    const { from, to } = this.speech;
    const source = new AudioBufferSourceNode(context, { buffer: this.sound });
    source.connect(context.destination);
    source.onended = () => this.#playing === context && this.#silence();
    source.start(0, from, to - from);
    const follow = () => {
      if (this.#playing !== context) return;
      this.#head.style.left = `${(Math.min(to, from + context.currentTime) / this.sound.duration) * 100}%`;
      requestAnimationFrame(follow);
    };
    follow();
    this.#head.hidden = false;
    fill(this.#play, icon(STOP), t("Stop"));
  }

  #silence() {
    this.#playing?.close();
    this.#playing = null;
    this.#head.hidden = true;
    fill(this.#play, icon(ICONS.play), t("Play"));
  }
}

customElements.define("sonic-waveform", Waveform);

/** @param {HTMLElement} slider @param {number} now @param {number} low @param {number} high */
function valued(slider, now, low, high) {
  for (const [name, value] of Object.entries({ valuenow: now, valuemin: low, valuemax: high })) slider.setAttribute(`aria-${name}`, value.toFixed(2));
  slider.setAttribute("aria-valuetext", t("{count} s", { count: now.toFixed(2) }));
}

/** @param {HTMLCanvasElement} canvas @param {AudioBuffer} sound */
function drawn(canvas, sound) {
  const dense = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth * dense, canvas.clientHeight * dense].map(Math.round);
  const pen = canvas.getContext("2d");
  if (!width || !pen) return;
  [canvas.width, canvas.height] = [width, height];
  pen.fillStyle = getComputedStyle(canvas).color;
  const bar = 3 * dense;
  peaks(sound, Math.floor(width / bar)).forEach((peak, each) => {
    const tall = Math.max(dense, peak * height * 0.94);
    pen.fillRect(each * bar, (height - tall) / 2, bar - dense, tall);
  });
}

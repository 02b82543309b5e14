// @ts-check
/** `<sonic-bench>`: what the sonic engine takes on this computer, and what each of its savings changes. */

import { Problem } from "./api.js";
import { fill, h } from "./dom.js";
import { attempt, banner, problem } from "./notes.js";
import { ended, left, taskSheet, unfinished } from "./tasks.js";
import { View } from "./view.js";
import { bytes, t } from "./words.js";

/**
 * @typedef {object} Trade
 * @property {string} name
 * @property {number | null} seconds
 * @property {number | null} step_seconds
 * @property {number} memory
 * @property {number} device_memory
 * @property {number | null} psnr
 * @property {number | null} ssim
 * @property {number | null} mouth
 * @property {number | null} sync
 * @property {string} error
 */
/** @typedef {{ device: string, numbers: string, width: number, height: number, frames: number, date: string, finished: boolean, trades: Trade[], recommended: string | null, notes: string[] }} Figures */

/** Minutes that can be chosen. */
const MINUTES = [5, 10, 30, 60, 180];
/** The trade that is none, which the others are compared with. */
const PUBLISHED = "published";

export class Bench extends View {
  #minutes = h("select", null, ...MINUTES.map((count) => h("option", { value: count, selected: count === 10 }, t("{minutes} min", { minutes: count }))));
  #weights = h("select");
  #size = h("input", { type: "number", step: 64 });
  #begin = h("button", { onclick: () => attempt(this.#begin, this.#told, () => this.#ask()) }, t("Measure this computer"));
  #asked = h("div", { class: "row bench-asked" });
  #progress = h("div", { class: "told" });
  #told = h("div", { class: "told", "aria-live": "polite" });
  #figures = h("div", { class: "stack" });
  #watching = false;

  show() {
    this.className = "sheet";
    const { weights, min_resolution: size } = this.state.schema.settings.properties;
    fill(this.#weights, ...weights.enum.map((/** @type {string} */ each) => h("option", { selected: each === weights.default }, each)));
    Object.assign(this.#size, { min: size.minimum, max: size.maximum, value: size.default });
    fill(
      this.#asked,
      field(t("Time it may take"), this.#minutes),
      field(t(weights.title), this.#weights),
      field(t(size.title), this.#size),
      this.#begin,
    );
    fill(
      this,
      h("h3", null, t("What the sonic engine takes here")),
      h("p", { class: "small quiet" }, t("A short clip is drawn as published, then with every preset and saving. Time, memory, mouth and lip sync are compared; no video is made.")),
      this.#asked,
      this.#told,
      this.#progress,
      this.#figures,
    );
    this.#watching = false;
    for (const what of ["view", "reachable"]) this.state.addEventListener(what, () => this.#again(), { signal: this.gone });
    this.#again();
  }

  /** Show what there is, if somebody looks. */
  async #again() {
    if (this.state.view !== "weights" || !this.state.reachable || this.#watching) return;
    const task = await this.state.api.get("/bench/task", this.gone).catch(() => null);
    if (task && task.state !== "idle") await this.#look();
    if (task?.state === "running") this.#watch();
  }

  async #ask() {
    const settings = { weights: this.#weights.value, min_resolution: Number(this.#size.value) };
    await this.state.api.post("/bench", { minutes: Number(this.#minutes.value), settings }, this.gone);
    this.#watch();
  }

  /** Show the task until it ends, and figures as they come. */
  async #watch() {
    if (this.#watching) return;
    const { api } = this.state;
    const gone = this.gone;
    this.#watching = this.#asked.hidden = true;
    const shown = taskSheet(t("What the sonic engine takes here"), () => api.ask("DELETE", "/bench/task"), left);
    fill(this.#progress, shown.sheet);
    let trade = "";
    const task = await ended(api, "/bench/task", (running) => {
      shown.tell(running);
      if (running.detail !== trade) this.#look();
      trade = running.detail;
    }, gone);
    if (gone.aborted || !task) return;
    this.#watching = this.#asked.hidden = false;
    fill(this.#progress);
    await this.#look();
    fill(this.#told, task.state !== "idle" && unfinished(task, t("What was measured is kept.")));
  }

  async #look() {
    try {
      const found = await this.state.api.get("/bench", this.gone);
      fill(this.#figures, ...figures(found));
    } catch (error) {
      const none = error instanceof Problem && (error.status === 409 || error.status === 0);
      if (!none && !this.gone.aborted) fill(this.#told, problem(error));
    }
  }
}

customElements.define("sonic-bench", Bench);

/** @param {Figures} found */
function figures(found) {
  const { device, numbers, width, height, frames, date, trades, recommended, notes } = found;
  const about = [device, numbers, `${width} × ${height}`, t("{count} frames", { count: frames }), date].join(" · ");
  return [
    recommended && banner("good", t("Recommended here: the preset {name}.", { name: t(recommended) }), t("The fastest that keeps mouth and lip sync.")),
    h("p", { class: "small quiet number" }, about),
    table(trades, recommended),
    ...notes.map((said) => h("p", { class: "small quiet" }, said)),
    copying(JSON.stringify(found, null, 2)),
  ];
}

/** @param {Trade[]} trades @param {string | null} recommended */
function table(trades, recommended) {
  const heads = [t("Trade"), t("Time"), t("Step"), t("Memory"), t("dB"), t("SSIM"), t("Mouth"), t("Lip sync")];
  const rows = trades.map((trade) => h("tr", { class: "number" }, h("th", { scope: "row" }, trade.name, " ", trade.name === recommended && h("span", { class: "badge good" }, t("recommended"))), ...cells(trade)));
  const head = h("thead", null, h("tr", null, ...heads.map((name) => h("th", { scope: "col" }, name))));
  return h("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": t("What was measured") }, h("table", { class: "trades" }, head, h("tbody", null, ...rows)));
}

/** @param {Trade} trade */
function cells({ name, seconds, step_seconds: step, memory, device_memory: card, psnr, ssim, mouth, sync, error }) {
  if (error) return [h("td", { colSpan: 7, class: "quiet" }, t("Not to be had here: {kind}", { kind: error }))];
  const same = name === PUBLISHED;
  const values = [
    written(seconds, 1, " s"),
    written(step, 2, " s"),
    bytes(card || memory),
    same ? "–" : written(psnr, 1),
    same ? "–" : written(ssim, 3),
    written(mouth, 2),
    written(sync, 2),
  ];
  return values.map((value) => h("td", null, value));
}

/** @param {number | null} value @param {number} digits @param {string} [unit] */
function written(value, digits, unit = "") {
  return value === null ? "–" : value.toFixed(digits) + unit;
}

/** A button that copies, and the text itself where the browser lets no page copy. @param {string} json */
function copying(json) {
  const text = h("pre", { tabIndex: 0 }, json);
  const whole = h("details", null, h("summary", null, "JSON"), text);
  const said = h("span", { class: "small quiet", role: "status" });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(json);
      fill(said, t("Copied."));
    } catch {
      whole.open = true;
      getSelection()?.selectAllChildren(text);
      fill(said, t("This browser lets the page copy nothing here: it is selected below."));
    }
  };
  return h("div", { class: "stack" }, h("div", { class: "row" }, h("button", { onclick: copy }, t("Copy JSON")), said), whole);
}

/** @param {string} label @param {HTMLElement} control */
function field(label, control) {
  return h("label", { class: "field" }, h("span", null, label), control);
}

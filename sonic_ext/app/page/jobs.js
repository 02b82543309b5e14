// @ts-check
/** `<sonic-jobs>`: what is being made and what waits, above every view; nothing where nothing is. */

import { fill, h } from "./dom.js";
import { attempt, problem } from "./notes.js";
import { View } from "./view.js";
import { duration, moment, t } from "./words.js";

/** @typedef {import("./api.js").Animation} Animation */
/** @typedef {{ id: string, total: number, ended: boolean, counts: Record<string, number> }} Batch */

/** Rows that are shown at most: a batch may have a thousand. */
const MOST = 30;
/** More rows than this can be folded away. */
const FEW = 2;
/** @type {Record<string, string>} */
const ORIGINS = { page: "Asked for on this page", api: "Asked for by the API", script: "Asked for by the script", node: "Asked for by a node" };
/** @type {Record<string, string>} */
const ENDS = { done: "The video of {time} is finished.", failed: "The video of {time} failed.", cancelled: "The video of {time} was cancelled." };

export class Jobs extends View {
  /** @type {Map<string, JobRow>} */
  #rows = new Map();
  #folded = false;
  /** @type {Batch[]} */
  #batches = [];
  /** What was under way when batches were asked for. */
  #asked = "";
  #list = h("ul", { class: "jobs" });
  #said = h("h2");
  #fold = h("button", { type: "button", class: "plain", onclick: () => this.#folding(!this.#folded) });
  #many = h("div", { class: "batches" });
  #rest = h("p", { class: "quiet small" });
  #told = h("p", { class: "unseen", role: "status" });
  #head = h("div", { class: "row between" }, this.#said, this.#fold);
  #sheet = h("section", { class: "sheet under-way", hidden: true, "aria-label": t("Videos being made") }, this.#head, this.#many, this.#list, this.#rest);

  show() {
    fill(this, this.#sheet, this.#told);
    this.state.on("animations", () => this.#update(), this.gone);
  }

  #update() {
    const wanted = underWay(this.state.animations);
    this.#announce(wanted);
    this.#place(wanted.slice(0, MOST));
    const left = wanted.length - MOST;
    this.#rest.hidden = left <= 0 || this.#folded;
    write(this.#rest, t("and {count} more", { count: left }));
    this.#head.hidden = wanted.length <= FEW;
    write(this.#said, t("{count} videos are being made or wait", { count: wanted.length }));
    this.#folding(this.#folded && wanted.length > FEW);
    this.#sheet.hidden = !wanted.length;
    const key = `${wanted.length} ${wanted[0]?.id}`;
    if (this.#asked !== key) this.#count(key, wanted.length > 0);
  }

  /** Say what ended, for those who do not see it. @param {Animation[]} wanted */
  #announce(wanted) {
    for (const id of this.#rows.keys()) {
      const now = this.state.animation(id);
      if (now && !wanted.includes(now) && now.state in ENDS) write(this.#told, t(ENDS[now.state], { time: moment(now.created) }));
    }
  }

  /** Rows in this order; a row that stays is not touched. @param {Animation[]} wanted */
  #place(wanted) {
    const ids = new Set(wanted.map((each) => each.id));
    const focused = /** @type {ShadowRoot} */ (this.getRootNode()).activeElement;
    let lost = false;
    for (const [id, row] of this.#rows) {
      if (ids.has(id)) continue;
      lost ||= row.element.contains(focused);
      row.element.remove();
      this.#rows.delete(id);
    }
    wanted.forEach((animation, number) => {
      const row = this.#rows.get(animation.id) ?? new JobRow(this.state.api, animation.id);
      this.#rows.set(animation.id, row);
      row.update(animation);
      const here = this.#list.children[number];
      if (here !== row.element) this.#list.insertBefore(row.element, here ?? null);
    });
    if (lost) /** @type {HTMLElement | null} */ (this.#list.querySelector("button:not([hidden])"))?.focus();
  }

  /** @param {boolean} folded */
  #folding(folded) {
    this.#folded = folded;
    this.#list.classList.toggle("folded", folded);
    this.#rest.hidden ||= folded;
    this.#fold.setAttribute("aria-expanded", String(!folded));
    write(this.#fold, folded ? t("Show all") : t("Show fewer"));
  }

  /** Ask how far batches are. @param {string} key @param {boolean} busy whether anything is under way */
  async #count(key, busy) {
    this.#asked = key;
    try {
      /** @type {{ batches: Batch[] }} */
      const { batches } = busy ? await this.state.api.get("/batches", this.gone) : { batches: [] };
      this.#batches = batches.filter((batch) => !batch.ended);
      this.#many.hidden = !this.#batches.length;
      fill(this.#many, ...this.#batches.map((batch) => h("p", { class: "quiet small number" }, ofBatch(batch))));
    } catch {
      this.#asked = "";
    }
  }
}

/** A video that is being made, or waits. */
class JobRow {
  #what = h("strong");
  #stage = h("span", { class: "quiet small" });
  #bar = h("progress", { max: 1, value: 0 });
  #share = h("span", { class: "number" });
  #left = h("span", { class: "quiet small number" });
  #far = h("div", { class: "how-far" }, this.#bar, h("div", { class: "row between" }, this.#share, this.#left));
  #told = h("div", { class: "part", "aria-live": "polite" });
  #resume = h("button", { type: "button", class: "primary", onclick: () => this.#go() }, t("Continue"));
  #end = h("button", { type: "button", onclick: () => this.#stop() });

  /** @param {import("./api.js").Api} api @param {string} id */
  constructor(api, id) {
    this.api = api;
    this.id = id;
    this.stopping = false;
    this.element = h(
      "li",
      { class: "job" },
      h("div", { class: "what" }, this.#what, this.#stage),
      this.#far,
      h("div", { class: "row deciding" }, this.#resume, this.#end),
      this.#told,
    );
  }

  /** @param {Animation} animation */
  update(animation) {
    const { held, progress, state, seconds_left: left } = animation;
    const running = state === "running";
    const time = moment(animation.created);
    this.element.classList.toggle("held", held);
    this.#far.hidden = !running;
    const origin = t(ORIGINS[animation.origin] ?? animation.origin);
    write(this.#what, time);
    write(this.#stage, `${origin} · ${animation.position > 1 ? t("number {number} in the line", { number: animation.position }) : t(animation.stage)}`);
    this.#bar.value = progress;
    this.#bar.setAttribute("aria-label", t("Progress of the video of {time}", { time }));
    write(this.#share, `${Math.floor(progress * 100)} %`);
    write(this.#left, running && left !== null && left >= 1 ? t("{time} left in this step", { time: duration(left) }) : "");
    this.#resume.hidden = !held;
    this.#stops(this.stopping);
    write(this.#end, this.stopping ? t("Stopping…") : held ? t("Discard") : t("Cancel"));
    for (const button of [this.#resume, this.#end]) button.setAttribute("aria-label", `${button.textContent}: ${time}`);
  }

  #go() {
    return attempt(this.#resume, this.#told, async () => void (await this.api.post(`/animations/${this.id}/resume`)));
  }

  /** The button stays as it is until the server tells that the video stopped. */
  async #stop() {
    if (this.stopping) return;
    this.#stops(true);
    write(this.#end, t("Stopping…"));
    fill(this.#told);
    try {
      await this.api.ask("DELETE", `/animations/${this.id}`);
    } catch (error) {
      this.#stops(false);
      fill(this.#told, problem(error));
    }
  }

  /** Not `disabled`, which would take the focus away. @param {boolean} stopping */
  #stops(stopping) {
    this.stopping = stopping;
    this.#end.setAttribute("aria-disabled", String(stopping));
  }
}

/** What is being made first, then what waits in its order, then what a restart interrupted. @param {Animation[]} animations */
function underWay(animations) {
  const rank = (/** @type {Animation} */ each) => (each.state === "running" ? 0 : each.held ? 2 : 1);
  return animations
    .filter(({ state }) => state === "running" || state === "queued")
    .sort((one, other) => rank(one) - rank(other) || one.position - other.position);
}

/** @param {Batch} batch */
function ofBatch({ total, counts }) {
  return t("{done} of {total} of a batch", { done: counts.done + counts.failed + counts.cancelled, total });
}

/** Change a text only where it is another one. @param {HTMLElement} element @param {string} text */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

customElements.define("sonic-jobs", Jobs);

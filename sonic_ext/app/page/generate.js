// @ts-check
/** `<sonic-generate>`: a portrait made by the WebUI's own txt2img or img2img, where the page is in one. */

import { base64 } from "./api.js";
import { fill, h } from "./dom.js";
import { picker } from "./files.js";
import { attempt, banner } from "./notes.js";
import { ended, left, taskSheet, unfinished } from "./tasks.js";
import { View } from "./view.js";
import { t } from "./words.js";

/** @typedef {import("./draft.js").Draft} Draft */
/** @typedef {import("./state.js").State} State */
/**
 * @typedef {object} Wish What the portrait is to be, while the page lives.
 * @property {Record<string, string>} texts name of a field → what it holds
 * @property {File | null} start picture to begin with
 * @property {boolean} asked whether this page asked for the portrait that is being made
 */

/** Numbers of a request: lowest, highest, step, first value. @type {Record<string, [number, number, number, number]>} */
const NUMBERS = {
  width: [64, 2048, 8, 512],
  height: [64, 2048, 8, 512],
  steps: [1, 150, 1, 20],
  cfg_scale: [1, 30, 0.5, 7],
  seed: [-1, 2 ** 32 - 1, 1, -1],
  denoising_strength: [0, 1, 0.01, 0.5],
};
/** Those of every request; the last is for a picture to begin with. */
const PLAIN = Object.keys(NUMBERS).slice(0, -1);

export class Generate extends View {
  /** @type {Draft} */
  draft = /** @type {any} */ (undefined);
  /** @type {Map<string, HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement>} */
  #fields = new Map();
  #start = h("div", { class: "stack" });
  #progress = h("div", { class: "part" });
  #told = h("div", { class: "told", "aria-live": "polite" });
  #make = h("button", { type: "submit" });
  #laid = false;

  show() {
    this.className = "sheet";
    this.hidden = true;
    this.#laid = false;
    this.state.on("reachable", () => this.state.reachable && !this.#laid && this.#offer(), this.gone);
  }

  /** Where no portraits can be made, or nobody answers, there is nothing to see. */
  async #offer() {
    try {
      const [{ samplers }, task] = await Promise.all([this.state.api.get("/portraits", this.gone), this.state.api.get("/portraits/task", this.gone)]);
      if (!samplers || this.#laid) return;
      this.#lay(samplers);
      if (task.state === "running") attempt(this.#make, this.#told, () => this.#follow());
    } catch {
      this.hidden = !this.#laid;
    }
  }

  /** @param {string[]} samplers */
  #lay(samplers) {
    this.#laid = true;
    this.hidden = false;
    fill(this.#make, t("Make portrait"));
    const submit = (/** @type {Event} */ event) => {
      event.preventDefault();
      attempt(this.#make, this.#told, () => this.#begin());
    };
    const form = h(
      "form",
      { class: "stack", noValidate: true, onsubmit: submit },
      this.#current(),
      this.#field("prompt", t("Prompt"), h("textarea", { rows: 2, placeholder: t("portrait photo of one person, facing the camera") })),
      this.#field("negative_prompt", t("Negative prompt"), h("textarea", { rows: 1 })),
      h(
        "div",
        { class: "numbers" },
        this.#number("width", t("Width")),
        this.#number("height", t("Height")),
        this.#number("steps", t("Steps")),
        this.#number("cfg_scale", t("CFG scale")),
        this.#number("seed", t("Seed")),
        this.#field("sampler_name", t("Sampler"), h("select", null, ...samplers.map((name) => h("option", null, name)))),
      ),
      this.#start,
      h("div", { class: "row" }, this.#make),
      this.#progress,
      this.#told,
    );
    fill(this, h("details", null, h("summary", null, t("Make a portrait here")), form));
    this.#beginning();
  }

  #current() {
    const button = h("button", { type: "button", onclick: () => this.#take(this.state.host?.txt2imgSettings() ?? {}) }, t("Use current txt2img settings"));
    this.state.on("host", () => (button.hidden = !this.state.host), this.gone);
    return h("div", { class: "row" }, button);
  }

  /** @param {Record<string, string | number>} values */
  #take(values) {
    for (const [name, value] of Object.entries(values)) {
      const input = this.#fields.get(name);
      const kept = input?.value;
      if (!input) continue;
      input.value = String(value);
      if (input instanceof HTMLSelectElement && input.selectedIndex < 0) input.value = String(kept); // a sampler that the user hides
      input.dispatchEvent(new Event("input"));
    }
  }

  /**
   * @param {string} name
   * @param {string} label
   * @param {HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement} input
   */
  #field(name, label, input) {
    const { texts } = wishOf(this.state);
    const wrong = h("small", { class: "wrong", role: "alert" });
    input.name = name;
    input.value = texts[name] ?? input.value;
    input.addEventListener("input", () => {
      texts[name] = input.value;
      wrong.textContent = wrongWith(input);
      input.toggleAttribute("aria-invalid", false);
      if (wrong.textContent) input.setAttribute("aria-invalid", "true");
    });
    this.#fields.set(name, input);
    return h("label", { class: "field" }, h("span", null, label), input, wrong);
  }

  /** @param {string} name @param {string} label */
  #number(name, label) {
    const [min, max, step, value] = NUMBERS[name];
    return this.#field(name, label, h("input", { type: "number", min, max, step: step < 1 ? "any" : 1, value }));
  }

  /** The picture to begin with, or what chooses one. */
  #beginning() {
    const wish = wishOf(this.state);
    const choose = (/** @type {File | null} */ file) => {
      wish.start = file;
      this.#beginning();
    };
    this.#fields.delete("denoising_strength");
    if (!wish.start) return fill(this.#start, h("div", { class: "row" }, picker("image/*", t("Start from a picture (img2img)"), choose)));
    const address = URL.createObjectURL(wish.start);
    const forget = () => URL.revokeObjectURL(address);
    const shown = h("img", { class: "start", alt: wish.start.name, onload: forget, onerror: forget, src: address });
    const remove = h("button", { type: "button", class: "plain", onclick: () => choose(null) }, t("Remove"));
    fill(this.#start, h("div", { class: "row" }, shown, h("span", { class: "named small" }, wish.start.name), remove), this.#number("denoising_strength", t("Denoising strength")));
  }

  async #begin() {
    const found = [...this.#fields.values()].find((input) => wrongWith(input));
    if (found) return found.focus();
    const prompt = this.#text("prompt");
    if (!prompt.trim()) {
      this.#fields.get("prompt")?.focus();
      return fill(this.#told, banner("problem", t("There is no prompt."), t("Say whom the portrait shows.")));
    }
    const wish = wishOf(this.state);
    const numbers = Object.fromEntries(PLAIN.map((name) => [name, Number(this.#text(name))]));
    const asked = { prompt, negative_prompt: this.#text("negative_prompt"), sampler_name: this.#text("sampler_name"), ...numbers };
    const body = wish.start
      ? { img2img: { ...asked, denoising_strength: Number(this.#text("denoising_strength")), init_images: [await base64(wish.start)] } }
      : { txt2img: asked };
    await this.state.api.post("/portraits", body, this.gone);
    wish.asked = true;
    await this.#follow();
  }

  /** @param {string} name */
  #text(name) {
    return this.#fields.get(name)?.value ?? "";
  }

  /** Show how the portrait stands until it is made; it is taken where this page asked for it. */
  async #follow() {
    const wish = wishOf(this.state);
    const { api } = this.state;
    const shown = taskSheet(t("Progress"), () => api.ask("DELETE", "/portraits/task"), left);
    fill(this.#progress, shown.sheet);
    const task = await ended(api, "/portraits/task", shown.tell, this.gone);
    fill(this.#progress);
    if (!task) return;
    const { asked } = wish;
    wish.asked = false;
    const wrong = unfinished(task);
    if (wrong) return fill(this.#told, wrong);
    if (asked) await this.#use();
    const use = h("button", { type: "button", onclick: () => attempt(use, this.#told, () => this.#use()) }, t("Use it"));
    fill(this.#told, banner("good", t("The portrait is made."), task.detail), !asked && use);
  }

  async #use() {
    const picture = await this.state.api.file("/portraits/picture", this.gone);
    this.draft.setPortrait(new File([picture], "portrait.png", { type: "image/png" }));
  }
}

customElements.define("sonic-generate", Generate);

/** What is wrong with a number. @param {HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement} input */
function wrongWith(input) {
  const [low, high, step] = NUMBERS[input.name] ?? [];
  if (low === undefined || (input.value !== "" && input.validity.valid)) return "";
  return step < 1 ? t("Use a number from {low} to {high}.", { low, high }) : t("Use a whole number from {low} to {high}.", { low, high });
}

/** @type {WeakMap<State, Wish>} */
const wishes = new WeakMap();

/** The page's one wish: it outlives a change of the language. @param {State} state */
function wishOf(state) {
  const wish = wishes.get(state) ?? { texts: {}, start: null, asked: false };
  wishes.set(state, wish);
  return wish;
}

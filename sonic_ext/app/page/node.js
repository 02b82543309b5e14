// @ts-check
/**
 * `<sonic-node>`: what one of ComfyUI's nodes shows once it has run: what it says, its videos one by one, and with
 * `gate` the way to the consent. It keeps nothing, and nothing of it stands in a workflow.
 */

import { Problem } from "./api.js";
import { apart, apiOf, dress, followTheme, speakTo } from "./begin.js";
import { fill, h, icon } from "./dom.js";
import { ICONS, problem } from "./notes.js";
import { tool } from "./player.js";
import { t } from "./words.js";

/** @typedef {import("./api.js").Animation} Animation */
/** @typedef {{ text?: string[], sonic?: { id: string }[] }} Message What a node answers. */

const DRAWN = { back: "M15 5l-7 7 7 7", on: "M9 5l7 7-7 7" };

class ShownNode extends HTMLElement {
  #api = apiOf(this);
  /** @type {Promise<unknown> | null} */
  #spoken = null;
  #ended = new AbortController();
  /** @type {string[]} */
  #said = [];
  /** @type {string[]} Jobs whose videos are shown. */
  #ids = [];
  /** Which of them is. */
  #at = 0;
  /** @type {Map<string, Animation | Problem>} */
  #known = new Map();
  #source = "";
  #video = h("video", { controls: true, loop: true, playsInline: true, preload: "metadata", onerror: () => this.#fallBack() });
  #texts = h("div", { class: "texts", tabIndex: 0 });
  #which = h("span", { class: "small number" });
  #many = h("div", { class: "row many" });
  #told = h("div", { class: "small", role: "status" });
  #doing = h("div", { class: "row doing" });
  #body = h("div", { class: "node" }, this.#texts, this.#many, this.#video, this.#told, this.#doing);

  connectedCallback() {
    if (this.#ended.signal.aborted) this.#ended = new AbortController();
    if (!this.shadowRoot) {
      apart(this, (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey));
      this.attachShadow({ mode: "open" }).append(...dress(this, ["node.css"]), this.#body);
    }
    followTheme(this, this.#ended.signal);
    document.addEventListener("sonic-videos", (event) => this.#heard(/** @type {CustomEvent<Animation[]>} */ (event).detail), { signal: this.#ended.signal });
  }

  disconnectedCallback() {
    this.#ended.abort();
    this.#video.pause();
  }

  /** What is measured: as tall as what is in it. */
  get content() {
    return this.#body;
  }

  /** Whether there is a video. */
  get showsVideo() {
    return this.#ids.length > 0;
  }

  /**
   * Show what the node answered.
   *
   * @param {Message} message
   */
  async tell({ text = [], sonic = [] }) {
    this.#said = text;
    const ids = sonic.map(({ id }) => id);
    if (ids.join() !== this.#ids.join()) [this.#ids, this.#at] = [ids, 0];
    await (this.#spoken ??= speakTo(this, this.#api).catch(() => (this.#spoken = null)));
    await this.#look(...this.#ids);
  }

  /** @param {string[]} ids */
  async #look(...ids) {
    const asked = ids.map(async (id) => {
      const found = await this.#api.get(`/animations/${id}`).catch((error) => error);
      this.#known.set(id, found instanceof Error && !(found instanceof Problem) ? new Problem(0, {}) : found);
    });
    await Promise.all(asked);
    this.#draw();
  }

  /** What a page of ours knows by now. @param {Animation[]} animations */
  #heard(animations) {
    let changed = false;
    for (const id of this.#ids) {
      const [now, before] = [animations.find((each) => each.id === id), this.#known.get(id)];
      if (!now || key(now) === key(before)) continue;
      this.#known.set(id, now);
      changed = true;
    }
    if (changed) this.#draw();
  }

  #draw() {
    const id = this.#ids[this.#at];
    const shown = this.#known.get(id);
    const video = shown && !(shown instanceof Problem) ? shown : null;
    const out = video?.export ?? null;
    fill(this.#texts, ...(video && this.hasAttribute("gate") ? [] : this.#said).map((each) => h("p", { class: "small said" }, each)));
    this.#number();
    this.#play(video);
    if (!shown) fill(this.#told);
    else if (shown instanceof Problem) fill(this.#told, shown.status === 404 ? t("This video is not there any more.") : problem(shown));
    else fill(this.#told, ...(out ? [t("Exported as {name}.", { name: out.name }), ...out.warnings.map((each) => h("p", null, each))] : [t("A small preview with a stamp. Consent lets the video itself out.")]));
    fill(this.#doing, this.hasAttribute("gate") && video?.state === "done" && (out ? this.#download(out) : this.#asking(id)));
  }

  #number() {
    const count = this.#ids.length;
    this.#many.hidden = count < 2;
    this.#which.textContent = `${this.#at + 1} / ${count}`;
    if (this.#many.hidden || this.#many.firstChild) return;
    const go = (/** @type {number} */ step) => {
      this.#at = (this.#at + step + this.#ids.length) % this.#ids.length;
      this.#draw();
    };
    fill(this.#many, tool(DRAWN.back, t("Previous video"), () => go(-1)), this.#which, tool(DRAWN.on, t("Next video"), () => go(1)));
  }

  /** @param {Animation | null} video */
  #play(video) {
    const address = video?.export?.video ?? video?.preview ?? "";
    this.#video.hidden = !address;
    if (video?.take) this.#video.style.aspectRatio = `${video.take.width} / ${video.take.height}`;
    if (address === this.#source) return;
    this.#source = address;
    if (address) this.#video.src = this.#api.address(address);
    else this.#video.removeAttribute("src");
  }

  /** The preview of an exported video that was moved away. */
  #fallBack() {
    const video = this.#known.get(this.#ids[this.#at]);
    if (!(video && "export" in video) || !video.export || !video.preview || this.#source !== video.export.video) return;
    this.#video.src = this.#api.address(video.preview);
  }

  /** @param {NonNullable<Animation["export"]>} out */
  #download(out) {
    return h("a", { class: "button", href: this.#api.address(out.video), download: out.name }, icon(ICONS.download), t("Download"));
  }

  /** @param {string} id */
  #asking(id) {
    const ask = async () => {
      this.#video.pause();
      const { consentTo } = await import("./gate.js");
      await consentTo(id, this);
      await this.#look(id);
      const found = this.#known.get(id);
      if (found && "export" in found) this.dispatchEvent(new CustomEvent("sonic-videos", { bubbles: true, composed: true, detail: [found] }));
      /** @type {HTMLElement | null} */ (this.#doing.querySelector("button, a"))?.focus();
    };
    return h("button", { type: "button", class: "primary", "aria-haspopup": "dialog", onclick: () => ask().catch((error) => fill(this.#told, problem(error))) }, t("Consent and export…"));
  }
}

/** What of a video is seen here. @param {Animation | Problem | undefined} video */
function key(video) {
  return video && "export" in video ? `${video.state} ${video.preview} ${video.export?.sha256}` : "";
}

customElements.define("sonic-node", ShownNode);

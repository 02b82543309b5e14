// @ts-check
/**
 * `<sonic-app>`: the whole page, alone or inside a host's document: `hosted`, or `hosted="comfyui"`. With `take="ID"` it
 * shows that one video, and its consent, alone. What it is told of all videos it passes on as the event `sonic-videos`.
 */

import { apiOf, dress, followTheme, remember, remembered, speakTo } from "./begin.js";
import { fill, h } from "./dom.js";
import { draftOf } from "./draft.js";
import { Jobs } from "./jobs.js";
import { Make } from "./make.js";
import { banner, problem, unreachable } from "./notes.js";
import { State } from "./state.js";
import { made, View } from "./view.js";
import { language, speak, t } from "./words.js";

/** @typedef {import("./api.js").Problem} Problem */

/**
 * View → its name and what shows it, loaded when it is first shown. Kept from then on: what somebody has begun stays
 * as it is.
 */
const VIEWS = {
  make: { title: "Make", load: async () => Make },
  history: { title: "History", load: async () => (await import("./history.js")).History },
  verify: { title: "Verify", load: async () => (await import("./verify.js")).Verify },
  consents: { title: "Consents", load: async () => (await import("./consents.js")).Consents },
  weights: { title: "Weights", load: async () => (await import("./weights.js")).Weights },
};
const STYLES = ["make.css", "history.css", "lists.css"];

/** @typedef {import("./state.js").Host} Host */

class SonicApp extends HTMLElement {
  /** @type {State | undefined} */
  #state;
  #ended = new AbortController();
  /** @type {Host | null} */
  #host = null;
  /** @type {Blob | null | undefined} What was sent before the page had begun; undefined for nothing. */
  #sent;
  /** What is said of what was sent. */
  #notice = h("div", { class: "told" });
  /** @type {Problem | null} Why the server lets this page in no more. */
  #refused = null;

  constructor() {
    super();
    const { host } = this;
    if (!Object.hasOwn(this, "host")) return;
    // Given before this class was there, it is the element's own and hides ours.
    Reflect.deleteProperty(this, "host");
    this.host = host;
  }

  /** What the WebUI around the page takes and gives; null where there is none. */
  get host() {
    return this.#host;
  }

  set host(host) {
    this.#host = host;
    if (!this.#state) return;
    this.#state.host = host;
    this.#state.tell("host");
  }

  /**
   * Take a picture that the host sends as the portrait.
   *
   * @param {Blob | null} picture null where there was none to send
   */
  receive(picture) {
    if (this.#state) this.#take(this.#state, picture);
    else this.#sent = picture;
  }

  connectedCallback() {
    const root = this.shadowRoot ?? this.attachShadow({ mode: "open" });
    if (this.#ended.signal.aborted) this.#ended = new AbortController();
    const body = h("main", { class: "page", "aria-busy": "true" });
    root.replaceChildren(...dress(this, STYLES), body);
    followTheme(this, this.#ended.signal);
    const begin = () => this.#begin(body).catch((error) => fill(body, this.#refused ? reloading(this.#refused) : problem(error)));
    if (this.hasAttribute("hosted")) this.#whenSeen(begin);
    else begin();
  }

  /** What was begun is kept for when it comes back, as a panel that is closed and opened does. */
  disconnectedCallback() {
    this.#ended.abort();
    this.#state?.ended.abort();
  }

  /** A WebUI has many tabs, and most of its pages never show this one. @param {() => void} begin */
  #whenSeen(begin) {
    const watcher = new ResizeObserver(() => {
      if (!this.offsetWidth) return;
      watcher.disconnect();
      begin();
    });
    watcher.observe(this);
    this.#ended.signal.addEventListener("abort", () => watcher.disconnect());
  }

  /** @param {HTMLElement} body */
  async #begin(body) {
    const state = this.#state ?? (await this.#first());
    if (!body.isConnected) return;
    if (state.ended.signal.aborted) state.ended = new AbortController();
    this.#state = state;
    state.host = this.#host;
    this.#lay(body, state);
    state.follow();
    if (this.#sent !== undefined) this.#take(state, this.#sent);
    this.#sent = undefined;
  }

  async #first() {
    const api = apiOf(this, (problem) => this.#refuse(problem));
    const state = new State(api, await speakTo(this, api));
    const asked = this.hasAttribute("hosted") ? "" : location.hash.slice(1); // a host's hash is its own
    state.view = Object.hasOwn(VIEWS, asked) ? asked : "make";
    state.addEventListener("animations", () => this.dispatchEvent(new CustomEvent("sonic-videos", { bubbles: true, composed: true, detail: state.animations })));
    return state;
  }

  /** @param {State} state @param {Blob | null} picture */
  #take(state, picture) {
    state.show("make");
    if (picture) draftOf(state).setPortrait(new File([picture], `portrait.${picture.type.split("/")[1] || "png"}`, { type: picture.type }));
    else fill(this.#notice, banner("note", t("There is no picture to send to Sonic."), t("Make or choose one first.")));
  }

  /** @param {Problem} problem */
  #refuse(problem) {
    this.#refused ??= problem;
    this.#state?.tell("refused");
  }

  /** @param {HTMLElement} body @param {State} state */
  #lay(body, state) {
    this.lang = language;
    body.removeAttribute("aria-busy");
    const only = this.getAttribute("take");
    if (only) return this.#layOne(body, state, only);
    const shown = h("section", { class: "views" });
    const told = h("div", { class: "told" });
    /** @type {Record<string, HTMLElement>} */
    const kept = {};
    const tabs = Object.entries(VIEWS).map(([name, { title }]) =>
      h("button", { class: "tab", role: "tab", id: `tab-${name}`, "aria-controls": `view-${name}`, onclick: () => state.show(name), onkeydown: arrows }, t(title)),
    );
    fill(
      body,
      h("header", { class: "top" }, h("h1", null, "Sonic"), h("nav", { class: "tabs", role: "tablist", "aria-label": "Sonic" }, ...tabs), this.#switches(body, state)),
      told,
      this.#notice,
      made(Jobs, state),
      shown,
    );
    state.on("view", () => {
      const view = /** @type {keyof typeof VIEWS} */ (state.view);
      kept[view] ??= h("div", { id: `view-${view}`, role: "tabpanel", "aria-labelledby": `tab-${view}` });
      for (const each of shown.children) /** @type {HTMLElement} */ (each).hidden = each !== kept[view];
      if (kept[view].parentNode !== shown) shown.append(kept[view]);
      kept[view].hidden = false;
      fill(this.#notice);
      furnish(kept[view], state);
      for (const tab of tabs) {
        const own = tab.id === `tab-${view}`;
        tab.setAttribute("aria-selected", String(own));
        tab.tabIndex = own ? 0 : -1;
      }
    }, this.#ended.signal);
    this.#following(state, told, shown, () => furnish(kept[state.view], state));
    draftOf(state).on(["portrait"], () => fill(this.#notice), this.#ended.signal);
  }

  /** One video alone. @param {HTMLElement} body @param {State} state @param {string} id */
  #layOne(body, state, id) {
    const [shown, told] = [h("section", { class: "views" }), h("div", { class: "told" })];
    fill(body, told, shown);
    this.#following(state, told, shown, async () => {
      const { Take } = await import("./take.js");
      if (!shown.firstChild) fill(shown, made(Take, state, { id }));
    });
  }

  /**
   * Say whether the server answers, and bring in what is shown while it does.
   *
   * @param {State} state
   * @param {HTMLElement} told
   * @param {HTMLElement} shown
   * @param {() => void} bring
   */
  #following(state, told, shown, bring) {
    const tell = () => {
      fill(told, this.#refused ? reloading(this.#refused) : !state.reachable && unreachable());
      shown.inert = Boolean(this.#refused);
      if (state.reachable) bring();
    };
    state.addEventListener("refused", tell, { signal: this.#ended.signal });
    state.on("reachable", tell, this.#ended.signal);
  }

  /** @param {HTMLElement} body @param {State} state */
  #switches(body, state) {
    const languages = h(
      "select",
      {
        "aria-label": t("Language"),
        onchange: async () => {
          remember({ language: languages.value });
          await speak(languages.value, [languages.value], (known) => state.api.texts(known));
          state.ended.abort();
          state.ended = new AbortController();
          this.#lay(body, state);
          state.follow();
        },
      },
      ...Object.entries(state.schema.languages).map(([tag, name]) => h("option", { value: tag, selected: tag === language }, name)),
    );
    return h("div", { class: "switches" }, languages);
  }
}

/** The server lets this page in no more; another one it does. @param {Problem} refused */
function reloading({ message }) {
  const said = banner("problem", message);
  said.append(h("button", { onclick: () => location.reload() }, t("Reload the page")));
  return said;
}

/** Bring the view that is shown into its place, unless it is there. @param {HTMLElement} place @param {State} state */
async function furnish(place, state) {
  const there = () => place.firstElementChild instanceof View;
  if (there()) return;
  try {
    /** @type {new () => View} */
    const kind = await VIEWS[/** @type {keyof typeof VIEWS} */ (state.view)].load();
    if (!there()) fill(place, made(kind, state));
  } catch {
    fill(place, unreachable());
  }
}

/** From tab to tab by the arrow keys. @param {KeyboardEvent} event */
function arrows(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const tab = /** @type {HTMLElement} */ (event.currentTarget);
  if (!step || !tab.parentElement) return;
  const all = /** @type {HTMLElement[]} */ ([...tab.parentElement.children]);
  const next = all[(all.indexOf(tab) + step + all.length) % all.length];
  next.focus();
  next.click();
}

customElements.define("sonic-app", SonicApp);

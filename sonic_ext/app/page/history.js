// @ts-check
/** `<sonic-history>`: videos that ended, to look at, to find again, to compare two. */

import { fill, h, icon } from "./dom.js";
import { ICONS, problem } from "./notes.js";
import { Player, borrowed, tool } from "./player.js";
import { Take, badge, facts, title } from "./take.js";
import { View, made } from "./view.js";
import { duration, t } from "./words.js";

/** @typedef {import("./api.js").Animation} Animation */

/** Which videos are shown → its name and what belongs to it. @type {Record<string, { name: string, has: (animation: Animation) => boolean }>} */
const FILTERS = {
  all: { name: "All", has: () => true },
  waiting: { name: "Not exported", has: ({ state, export: out }) => state === "done" && !out },
  exported: { name: "Exported", has: ({ export: out }) => Boolean(out) },
  failed: { name: "Failed", has: ({ state }) => state === "failed" },
};
/** How many are shown at first, and more at a time. */
const MANY = 60;

export class History extends View {
  /** @type {Map<string, Tile>} */
  #tiles = new Map();
  #filter = "all";
  #opened = "";
  /** @type {string[]} Ids of at most two videos, to be compared. */
  #compared = [];
  /** The tile that the Tab key reaches. */
  #reached = "";
  #most = MANY;
  #search = h("input", { type: "search", placeholder: t("Search"), "aria-label": t("Search names, parameters, errors, ids and dates"), oninput: () => this.#update() });
  #chips = h("div", { class: "choices", role: "radiogroup", "aria-label": t("Which videos") });
  #hint = h("div", { class: "row small comparing", "aria-live": "polite" });
  #shelf = h("ul", { class: "shelf", "aria-label": t("Videos") });
  #none = h("div", { class: "empty" });
  #more = h("button", { type: "button", onclick: () => ((this.#most += MANY), this.#update()) }, t("Show more"));
  #side = h("section", { class: "sheet side", tabIndex: -1, hidden: true });
  #seen = new IntersectionObserver((entries) => entries.forEach((entry) => this.#came(entry)), { rootMargin: "300px" });

  show() {
    this.#shelf.onkeydown = (event) => this.#keyed(event);
    this.#side.onkeydown = (event) => event.key === "Escape" && !event.defaultPrevented && this.#close();
    this.#offer();
    const left = h("div", { class: "stack" }, this.#none, this.#shelf, this.#more);
    fill(this, h("div", { class: "finding" }, this.#chips, h("label", { class: "seek" }, icon(ICONS.search), this.#search)), this.#hint, h("div", { class: "beside" }, left, this.#side));
    this.state.on("animations", () => this.#update(), this.gone);
    this.gone.addEventListener("abort", () => this.#end());
  }

  #end() {
    this.#seen.disconnect();
    for (const tile of this.#tiles.values()) tile.end();
    this.#tiles.clear();
  }

  #offer() {
    const chips = Object.entries(FILTERS).map(([key, { name }]) => {
      const chosen = h("input", { type: "radio", name: "history-filter", checked: key === this.#filter, onchange: () => this.#sift(key) });
      return h("label", { class: "choice" }, chosen, h("span", null, t(name)), h("span", { class: "quiet number", data: { filter: key } }));
    });
    fill(this.#chips, ...chips);
  }

  /** @param {string} filter */
  #sift(filter) {
    this.#filter = filter;
    this.#most = MANY;
    this.#update();
  }

  #update() {
    const ended = this.state.animations.filter(({ state }) => state === "done" || state === "failed" || state === "cancelled");
    this.#keep(ended);
    const wanted = this.#search.value.trim().toLowerCase();
    const found = ended.filter((each) => FILTERS[this.#filter].has(each) && says(each, wanted));
    this.#place(found.slice(0, this.#most));
    this.#more.hidden = found.length <= this.#most;
    this.#tell(ended, found);
    if (this.#opened && !this.#tiles.has(this.#opened)) this.#close();
    if (this.#compared.some((id) => !this.#tiles.has(id))) this.#compare(this.#compared.filter((id) => this.#tiles.has(id)));
  }

  /** A tile for each, kept as long as the video is. @param {Animation[]} ended */
  #keep(ended) {
    const ids = new Set(ended.map((each) => each.id));
    for (const [id, tile] of this.#tiles) {
      if (ids.has(id)) continue;
      this.#seen.unobserve(tile.element);
      tile.end();
      this.#tiles.delete(id);
    }
    for (const animation of ended) {
      const tile = this.#tiles.get(animation.id) ?? this.#begin(animation.id);
      tile.update(animation);
    }
  }

  /** @param {string} id */
  #begin(id) {
    const tile = new Tile(id, () => this.#open(id), (wanted) => this.#mark(id, wanted));
    tile.element.addEventListener("focusin", () => this.#reach(id));
    this.#tiles.set(id, tile);
    this.#seen.observe(tile.element);
    return tile;
  }

  /** Tiles in this order; one that stays is not touched. @param {Animation[]} found */
  #place(found) {
    const wanted = found.map(({ id }) => /** @type {Tile} */ (this.#tiles.get(id)));
    const kept = new Set(wanted.map(({ element }) => element));
    for (const element of [...this.#shelf.children]) if (!kept.has(/** @type {HTMLLIElement} */ (element))) element.remove();
    wanted.forEach(({ element }, number) => {
      const here = this.#shelf.children[number];
      if (here !== element) this.#shelf.insertBefore(element, here ?? null);
    });
    this.#reach(found.some(({ id }) => id === this.#reached) ? this.#reached : (found[0]?.id ?? ""));
  }

  /** @param {Animation[]} ended @param {Animation[]} found */
  #tell(ended, found) {
    for (const [key, { has }] of Object.entries(FILTERS)) {
      const count = /** @type {HTMLElement} */ (this.#chips.querySelector(`[data-filter=${key}]`));
      count.textContent = String(ended.filter(has).length);
    }
    this.#shelf.hidden = !found.length;
    this.#none.hidden = found.length > 0 || !this.state.loaded;
    const key = found.length ? "" : ended.length ? "found" : "made";
    if (this.#none.dataset.none === key) return;
    this.#none.dataset.none = key;
    if (key === "found") fill(this.#none, h("p", null, t("No video is like that.")), h("button", { type: "button", onclick: () => this.#clear() }, t("Show all")));
    if (key === "made") fill(this.#none, h("p", null, t("Nothing has been made yet.")), h("button", { type: "button", onclick: () => this.state.show("make") }, t("Make a video")));
  }

  #clear() {
    this.#search.value = "";
    this.#filter = "all";
    this.#offer();
    this.#update();
    this.#search.focus();
  }

  /** @param {IntersectionObserverEntry} entry */
  #came(entry) {
    if (!entry.isIntersecting) return;
    for (const tile of this.#tiles.values()) if (tile.element === entry.target) tile.look(this.state.api);
  }

  /** @param {string} id */
  #reach(id) {
    if (this.#reached !== id) this.#tiles.get(this.#reached)?.reachable(false);
    this.#reached = id;
    this.#tiles.get(id)?.reachable(true);
  }

  /** @param {KeyboardEvent} event */
  #keyed(event) {
    const tiles = [...this.#shelf.children];
    const columns = tiles.filter((each) => /** @type {HTMLElement} */ (each).offsetTop === /** @type {HTMLElement} */ (tiles[0]).offsetTop).length;
    const at = tiles.findIndex((each) => each.contains(/** @type {Node} */ (event.target)));
    /** @type {Record<string, number>} */
    const goals = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + columns, ArrowUp: at - columns, Home: 0, End: tiles.length - 1 };
    if (!(event.key in goals)) return;
    event.preventDefault();
    tiles[goals[event.key]]?.querySelector("button")?.focus();
  }

  /** @param {string} id */
  #open(id) {
    if (this.#compared.length === 2) this.#compare([]);
    this.#select(id);
    this.#beside(t("Video"), made(Take, this.state, { id }));
  }

  /** @param {string} id */
  #select(id) {
    this.#tiles.get(this.#opened)?.current(false);
    this.#opened = id;
    this.#tiles.get(id)?.current(true);
  }

  #close() {
    const opened = this.#opened;
    this.#select("");
    this.#side.hidden = true;
    this.classList.remove("open");
    fill(this.#side);
    if (this.#compared.length === 2) this.#compare([]);
    (this.#tiles.get(opened) ?? this.#tiles.get(this.#reached))?.focus();
  }

  /** @param {string} name @param {View} view */
  #beside(name, view) {
    this.#side.setAttribute("aria-label", name);
    const close = tool(ICONS.close, t("Close"), () => this.#close());
    close.classList.add("away");
    fill(this.#side, close, view);
    this.#side.hidden = false;
    this.classList.add("open");
    this.#side.scrollTop = 0;
    if (this.#side.offsetTop <= this.#shelf.offsetTop) return;
    this.#side.scrollIntoView({ block: "start" });
    this.#side.focus({ preventScroll: true });
  }

  /** @param {string} id @param {boolean} wanted */
  #mark(id, wanted) {
    const others = this.#compared.filter((each) => each !== id);
    this.#compare(wanted ? [...others.slice(-1), id] : others);
  }

  /** @param {string[]} ids */
  #compare(ids) {
    const before = this.#compared;
    this.#compared = ids;
    for (const [id, tile] of this.#tiles) tile.mark(ids.includes(id));
    const clear = h("button", { type: "button", class: "plain", onclick: () => this.#compare([]) }, t("Compare none"));
    fill(this.#hint, ids.length === 1 && [h("span", null, t("Choose one more to compare.")), clear]);
    if (ids.length === 2) {
      this.#select("");
      this.#beside(t("Comparison"), made(Comparison, this.state, { ids }));
    } else if (before.length === 2) this.#close();
  }
}

/** A video on the shelf. */
class Tile {
  #gone = new AbortController();
  #animation = "";
  /** @type {string | null} */
  #poster = null;
  #picture = h("span", { class: "poster" });
  #name = h("strong", { class: "number" });
  #about = h("span", { class: "quiet small about" });
  #state = h("span");
  #button;
  #mark;
  #marking;

  /** @param {string} id @param {() => void} open @param {(wanted: boolean) => void} mark */
  constructor(id, open, mark) {
    this.id = id;
    this.#button = h("button", { type: "button", class: "tile", tabIndex: -1, onclick: open }, this.#picture, h("span", { class: "words" }, this.#name, this.#state, this.#about));
    this.#mark = h("input", { type: "checkbox", tabIndex: -1, onchange: () => mark(this.#mark.checked) });
    this.#marking = h("label", { class: "marking small" }, this.#mark, t("Compare"));
    this.element = h("li", null, this.#button, this.#marking);
  }

  /** @param {Animation} animation */
  update(animation) {
    const told = JSON.stringify(animation);
    if (told === this.#animation) return;
    this.#animation = told;
    const { take, error, poster } = animation;
    this.#name.textContent = title(animation);
    fill(this.#state, badge(animation));
    this.#about.textContent = take ? `${duration(take.seconds)} · ${take.engine}` : (error?.detail ?? "");
    this.#marking.hidden = !animation.preview;
    this.#mark.setAttribute("aria-label", `${t("Compare")}: ${title(animation)}`);
    this.#poster = poster;
    if (!poster) fill(this.#picture, icon(animation.state === "failed" ? ICONS.problem : ICONS.close));
  }

  /** Fetch the picture, once. @param {import("./api.js").Api} api */
  async look(api) {
    const address = this.#poster;
    if (!address || this.#picture.childElementCount) return;
    const image = h("img", { alt: "" });
    fill(this.#picture, image);
    try {
      image.src = await borrowed(api, address, this.#gone.signal);
    } catch {
      fill(this.#picture, icon(ICONS.play));
    }
  }

  end() {
    this.#gone.abort();
    this.element.remove();
  }

  focus() {
    this.#button.focus();
  }

  /** @param {boolean} reachable */
  reachable(reachable) {
    this.#button.tabIndex = this.#mark.tabIndex = reachable ? 0 : -1;
  }

  /** @param {boolean} opened */
  current(opened) {
    this.#button.setAttribute("aria-current", String(opened));
  }

  /** @param {boolean} wanted */
  mark(wanted) {
    this.#mark.checked = wanted;
  }
}

/** Two videos side by side, played in step. */
class Comparison extends View {
  /** @type {string[]} */
  ids = [];

  show() {
    const pair = this.ids.map((id) => this.state.animation(id)).filter((each) => each !== undefined);
    const screen = h("div", { class: "screening wide", "aria-busy": "true" });
    fill(this, h("h2", null, t("Comparison")), screen, h("div", { class: "scroll" }, differences(pair)));
    this.#load(screen, pair);
  }

  /** @param {HTMLElement} screen @param {Animation[]} pair */
  async #load(screen, pair) {
    try {
      const longest = [...pair].sort((one, other) => (other.take?.seconds ?? 0) - (one.take?.seconds ?? 0))[0];
      const urls = await Promise.all(pair.map(({ preview }) => borrowed(this.state.api, String(preview), this.gone)));
      if (this.gone.aborted) return;
      const clips = pair.map((each, number) => ({ url: urls[number], name: `preview-${each.id.slice(0, 8)}`, caption: title(each) }));
      screen.replaceWith(made(Player, this.state, { clips, fps: longest.take?.fps, lead: pair.indexOf(longest) }));
    } catch (error) {
      if (!this.gone.aborted) screen.replaceWith(problem(error));
    }
  }
}

/** @param {Animation[]} pair */
function differences(pair) {
  const [one, other] = pair.map(facts);
  const rows = one.map(([name, value], number) => {
    const kind = value === other[number][1] ? "" : "other";
    return h("tr", null, h("th", { scope: "row" }, name), h("td", { class: kind }, value), h("td", { class: kind }, other[number][1]));
  });
  const heads = pair.map((each) => h("th", { scope: "col" }, title(each)));
  return h("table", { class: "differences" }, h("thead", null, h("tr", null, h("td"), ...heads)), h("tbody", null, ...rows));
}

/** Whether an animation has all of these words. @param {Animation} animation @param {string} wanted */
function says(animation, wanted) {
  if (!wanted) return true;
  const { id, infotext, error, created, take, export: out } = animation;
  const text = [id, infotext, error?.detail, created, title(animation), take?.id, take?.engine, out?.name, out?.record].join(" ").toLowerCase();
  return wanted.split(/\s+/).every((word) => text.includes(word));
}

customElements.define("sonic-history", History);
customElements.define("sonic-comparison", Comparison);

// @ts-check
/** Engines, what they take here, and the files that the sonic engine needs: what is there, licences, fetching. */

import { Bench } from "./bench.js";
import { unreached } from "./consents.js";
import { fill, h } from "./dom.js";
import { attempt, banner, problem } from "./notes.js";
import { ended, left, taskSheet, unfinished } from "./tasks.js";
import { made, View } from "./view.js";
import { code, pairs } from "./verify.js";
import { bytes, t } from "./words.js";

/**
 * @typedef {object} Part
 * @property {string} name
 * @property {string} title
 * @property {string} need
 * @property {boolean} required
 * @property {string} repo
 * @property {number | null} about_bytes
 * @property {{ name: string, sentence: string, url: string }} licence
 * @property {"ready" | "to convert" | "wrong" | "partial" | "missing"} state
 * @property {string | null} path
 * @property {number | null} bytes of the file, or of what came of it so far
 * @property {number} to_fetch_bytes
 * @property {string} place
 * @property {string} detail
 */
/** @typedef {{ task: "fetch" | "convert", detail: string, hint: string }} Obstacle */
/** @typedef {{ ready: boolean, lent: string, target: string, free_bytes: number | null, to_fetch_bytes: number, obstacles: Obstacle[], parts: Part[] }} Survey */
/** @typedef {import("./tasks.js").Task} Task */

/** Bytes that a disk should keep free. */
const MARGIN = 64e6;
/** Engine → what it does. @type {Record<string, string>} */
const WHAT = {
  preview: "Moves the mouth of the picture itself. It is ready everywhere, and quick on any processor.",
  sonic: "Draws every frame anew with a diffusion network. It needs the files below, and a graphics card to be quick.",
};
/** @type {Record<string, string>} */
const BADGES = { ready: "good", "to convert": "warn", partial: "warn", wrong: "bad" };

export class Weights extends View {
  /** @type {Survey | null} */
  #found = null;
  /** Names of parts to fetch; null until somebody could choose. @type {Set<string> | null} */
  #chosen = null;
  /** Names of licences. @type {Set<string>} */
  #accepted = new Set();
  #watching = false;
  #engines = h("div", { class: "columns" });
  #summary = h("div", { class: "stack" });
  #parts = h("div", { class: "parts" });
  #fetching = h("div", { class: "stack fetching" });
  #progress = h("div");
  #told = h("div", { class: "told", "aria-live": "polite" });

  show() {
    const engines = h("section", { class: "stack" }, h("h2", null, t("Engines")), this.#engines, made(Bench, this.state));
    const bringing = h("div", { class: "stack bringing" }, this.#fetching, this.#progress, this.#told);
    const files = h("section", { class: "stack" }, h("h2", null, t("Model files of the sonic engine")), this.#summary, h("div", { class: "files" }, this.#parts, bringing));
    fill(this, h("div", { class: "chapters" }, engines, files));
    for (const what of ["view", "reachable"]) this.state.addEventListener(what, () => this.#again(), { signal: this.gone });
    this.#refresh();
  }

  /** Ask anew, if somebody looks. */
  #again() {
    if (this.state.view === "weights" && this.state.reachable) this.#refresh();
  }

  async #refresh() {
    try {
      const [survey, engines, task] = await Promise.all(["/weights", "/engines", "/weights/task"].map((path) => this.state.api.get(path, this.gone)));
      this.#lay(survey, engines);
      if (task.state === "running") this.#watch();
    } catch (error) {
      if (!this.gone.aborted && !unreached(error)) fill(this.#summary, problem(error));
    }
  }

  /** @param {Survey} survey @param {{ engines: any[], auto: string }} engines */
  #lay(survey, engines) {
    this.#found = survey;
    const open = survey.parts.filter(fetchable);
    this.#chosen ??= new Set(open.filter((part) => part.required).map((part) => part.name));
    this.#chosen = new Set([...this.#chosen].filter((name) => open.some((part) => part.name === name)));
    fill(this.#engines, ...engines.engines.map((each) => engine(each, engines.auto)));
    fill(this.#summary, summary(survey), place(survey));
    fill(this.#parts, ...survey.parts.map((part) => this.#part(part)));
    this.#offer();
  }

  /** @param {Part} part */
  #part(part) {
    const about = part.about_bytes ? t("about {size}", { size: bytes(part.about_bytes) }) : "";
    const size = part.state === "partial" && part.bytes ? `${bytes(part.bytes)} / ${about}` : part.bytes ? bytes(part.bytes) : about;
    const link = h("a", { href: part.licence.url, target: "_blank", rel: "noreferrer" }, part.licence.name);
    return h(
      "article",
      { class: "sheet" },
      h("div", { class: "head" }, h("h3", null, t(part.title)), h("span", { class: `badge ${BADGES[part.state] ?? ""}` }, t(part.state))),
      h("p", { class: "small quiet" }, t(part.need), !part.required && ` (${t("optional")})`),
      pairs([
        [t("Size"), size],
        [t("Licence"), link],
        [t("Place"), part.place && t(part.place)],
        [t("File"), code(part.path ?? "")],
        [t("Source"), !part.path && code(part.repo)],
      ]),
      part.detail && h("p", { class: "small" }, t(part.detail)),
      fetchable(part) && this.#choice(part),
    );
  }

  /** @param {Part} part */
  #choice(part) {
    const box = h("input", { type: "checkbox", checked: this.#chosen?.has(part.name) ?? false, "aria-label": t("Fetch {title}", { title: t(part.title) }) });
    box.addEventListener("change", () => {
      toggled(this.#chosen ?? new Set(), part.name, box.checked);
      this.#offer();
    });
    return h("label", { class: "tick" }, box, t("Fetch this part"));
  }

  /** What can be done now: fetch what is chosen, convert. */
  #offer() {
    const parts = this.#found?.parts ?? [];
    const chosen = parts.filter((part) => this.#chosen?.has(part.name));
    const pickles = parts.some((part) => part.state === "to convert");
    fill(this.#fetching, parts.some(fetchable) && this.#terms(chosen), pickles && this.#conversion());
    this.#fetching.hidden = this.#watching;
  }

  /** @param {Part[]} chosen */
  #terms(chosen) {
    const count = chosen.reduce((sum, part) => sum + part.to_fetch_bytes, 0);
    const [said, trouble] = [this.#room(chosen, count), this.#obstacle("fetch")];
    const told = h("div", { class: "told" });
    const begin = () => this.#begin("/weights/fetch", { parts: chosen.map((part) => part.name), accept: [...this.#accepted] });
    const fetch = h("button", { class: "primary", disabled: Boolean(trouble), onclick: () => attempt(fetch, told, begin) });
    fill(fetch, chosen.some((part) => part.state === "partial") ? t("Fetch the rest") : t("Fetch"));
    const licences = new Map(chosen.map((part) => [part.licence.name, part.licence]));
    return h(
      "section",
      { class: "sheet" },
      h("h2", null, t("Parts to fetch")),
      h("div", { class: "stack", role: "status" }, ...said),
      ...[...licences.values()].map((licence) => this.#licence(licence, chosen)),
      trouble,
      chosen.length > 0 && h("div", { class: "row" }, fetch, h("span", { class: "small quiet" }, t("A download that stops goes on where it stopped."))),
      told,
    );
  }

  /** How much it is, and whether there is room for it. @param {Part[]} chosen @param {number} count bytes */
  #room(chosen, count) {
    if (!chosen.length) return [h("p", null, t("Nothing is chosen."))];
    const free = this.#found?.free_bytes ?? Infinity;
    const said = h("p", { class: "number" }, t("Chosen: {count}, about {size}.", { count: chosen.length, size: bytes(count) }));
    const full = free < count + MARGIN && banner("warning", t("There is no room for it: {size} are free.", { size: bytes(free) }), t("Make room, or name another folder in {name}.", { name: "SONIC_MODELS" }));
    return [said, full];
  }

  /** What keeps this from being done here at all. @param {Obstacle["task"]} task */
  #obstacle(task) {
    const found = this.#found?.obstacles.find((each) => each.task === task);
    return found && banner("warning", t(found.detail), t(found.hint));
  }

  /** @param {Part["licence"]} licence @param {Part[]} chosen */
  #licence(licence, chosen) {
    const box = h("input", { type: "checkbox", checked: this.#accepted.has(licence.name) });
    box.addEventListener("change", () => toggled(this.#accepted, licence.name, box.checked));
    const titles = chosen.filter((part) => part.licence.name === licence.name).map((part) => t(part.title));
    return h(
      "div",
      { class: "licence" },
      h("p", null, t(licence.sentence)),
      h("p", { class: "small quiet" }, t("For: {titles}.", { titles: titles.join(", ") }), " ", h("a", { href: licence.url, target: "_blank", rel: "noreferrer" }, t("Full text"))),
      h("label", { class: "tick" }, box, t("I have read it and accept: {name}", { name: licence.name })),
    );
  }

  #conversion() {
    const told = h("div", { class: "told" });
    const trouble = this.#obstacle("convert");
    const button = h("button", { disabled: Boolean(trouble), onclick: () => attempt(button, told, () => this.#begin("/weights/convert", {})) }, t("Convert pickles"));
    const said = t("Some files are pickles. They are used once they are converted; nothing in them is run.");
    return h("section", { class: "sheet" }, h("p", null, said), trouble, h("div", { class: "row" }, button), told);
  }

  /** @param {string} path @param {object} body */
  async #begin(path, body) {
    await this.state.api.post(path, body, this.gone);
    fill(this.#told);
    this.#watch();
  }

  /** Show the task until it ends, then how it ended. */
  async #watch() {
    if (this.#watching) return;
    const { api } = this.state;
    const gone = this.gone;
    this.#watching = this.#fetching.hidden = true;
    const shown = taskSheet(t("Model files"), () => api.ask("DELETE", "/weights/task"), (task) => amounts(task));
    fill(this.#progress, shown.sheet);
    const task = await ended(api, "/weights/task", shown.tell, gone);
    this.#watching = false;
    fill(this.#progress);
    if (gone.aborted || !task) return;
    fill(this.#told, unfinished(task, t("Fetch goes on where it stopped.")) ?? banner("good", t(task.detail)));
    await this.#refresh();
  }
}

/** @param {Part} part */
function fetchable(part) {
  return part.state !== "ready" && part.state !== "to convert";
}

/** @param {Set<string>} names @param {string} name @param {boolean} there */
function toggled(names, name, there) {
  if (there) names.add(name);
  else names.delete(name);
}

/** @param {{ name: string, ready: boolean, detail: string, hint: string }} each @param {string} auto */
function engine(each, auto) {
  return h(
    "article",
    { class: "sheet" },
    h(
      "div",
      { class: "head" },
      h("h3", null, each.name),
      h(
        "span",
        { class: "row" },
        each.name === auto && h("span", { class: "badge" }, t("taken by auto")),
        h("span", { class: `badge ${each.ready ? "good" : "warn"}` }, each.ready ? t("ready") : t("not ready")),
      ),
    ),
    each.name in WHAT && h("p", { class: "small quiet" }, t(WHAT[each.name])),
    each.detail && h("p", null, t(each.detail)),
    each.hint && h("p", { class: "small quiet" }, t(each.hint)),
  );
}

/** @param {Survey} survey */
function summary(survey) {
  if (survey.ready) return banner("good", t("The sonic engine has all the weights that it needs."));
  if (survey.lent) return banner("good", t("The sonic engine has what it needs."), t("{name} stands in for Stable Video Diffusion's VAE, which flickers less.", { name: survey.lent }));
  const needed = survey.parts.filter((part) => part.required);
  const lacking = needed.filter((part) => part.state !== "ready");
  const size = bytes(survey.to_fetch_bytes);
  const said = t("The sonic engine lacks {count} of {total} parts, about {size}.", { count: lacking.length, total: needed.length, size });
  return banner("warning", said, t("The preview engine needs none of them."));
}

/** Where files go, and how much room there is. @param {Survey} survey */
function place({ target, free_bytes: free }) {
  const room = free === null ? "" : t("{size} are free there.", { size: bytes(free) });
  return h("p", { class: "small quiet" }, `${t("Files go to")} `, h("code", null, target), room && " · ", h("span", { class: "number" }, room));
}

/** @param {Task} task */
function amounts(task) {
  if (task.total < 2) return "";
  return [`${bytes(task.done)} / ${bytes(task.total)}`, left(task)].filter(Boolean).join(" · ");
}

customElements.define("sonic-weights", Weights);

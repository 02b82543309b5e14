// @ts-check
/** Engines, and the files that the sonic engine needs: what is there, licences, fetching, converting. */

import { unreached } from "./consents.js";
import { fill, h } from "./dom.js";
import { attempt, banner, problem } from "./notes.js";
import { View } from "./view.js";
import { code, pairs } from "./verify.js";
import { bytes, duration, t } from "./words.js";

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
 * @property {number | null} bytes
 * @property {string} place
 * @property {string} detail
 */
/** @typedef {{ ready: boolean, target: string, parts: Part[] }} Survey */
/**
 * @typedef {object} Task
 * @property {"idle" | "running" | "done" | "failed" | "cancelled"} state
 * @property {string} stage
 * @property {string} detail
 * @property {number} done
 * @property {number} total
 * @property {number | null} seconds_left
 * @property {{ detail: string, hint: string } | null} error
 */

/** Milliseconds between two looks at a download. */
const EVERY = 1000;
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
  #fetching = h("div", { class: "stack" });
  #progress = h("div");
  #told = h("div", { class: "told", "aria-live": "polite" });

  show() {
    const engines = h("section", { class: "stack" }, h("h2", null, t("Engines")), this.#engines);
    const files = h("section", { class: "stack" }, h("h2", null, t("Model files of the sonic engine")), this.#summary, this.#parts);
    fill(this, h("div", { class: "stack" }, engines, files, this.#fetching, this.#progress, this.#told));
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
    fill(this.#summary, summary(survey), h("p", { class: "small quiet" }, `${t("Files go to")} `, h("code", null, survey.target)));
    fill(this.#parts, ...survey.parts.map((part) => this.#part(part)));
    this.#offer();
  }

  /** @param {Part} part */
  #part(part) {
    const size = part.bytes ? bytes(part.bytes) : part.about_bytes ? t("about {size}", { size: bytes(part.about_bytes) }) : "";
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
    const size = bytes(chosen.reduce((sum, part) => sum + (part.about_bytes ?? 0), 0));
    const told = h("div", { class: "told" });
    const begin = () => this.#begin("/weights/fetch", { parts: chosen.map((part) => part.name), accept: [...this.#accepted] });
    const fetch = h("button", { class: "primary", onclick: () => attempt(fetch, told, begin) });
    fill(fetch, chosen.some((part) => part.state === "partial") ? t("Fetch the rest") : t("Fetch"));
    const licences = new Map(chosen.map((part) => [part.licence.name, part.licence]));
    const said = chosen.length ? t("Chosen: {count}, about {size}.", { count: chosen.length, size }) : t("Nothing is chosen.");
    return h(
      "section",
      { class: "sheet" },
      h("h2", null, t("Parts to fetch")),
      h("p", { class: "number", role: "status" }, said),
      ...[...licences.values()].map((licence) => this.#licence(licence, chosen)),
      chosen.length > 0 && h("div", { class: "row" }, fetch, h("span", { class: "small quiet" }, t("A download that stops goes on where it stopped."))),
      told,
    );
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
    const button = h("button", { onclick: () => attempt(button, told, () => this.#begin("/weights/convert", {})) }, t("Convert pickles"));
    const said = t("Some files are pickles. They are used once they are converted; nothing in them is run.");
    return h("section", { class: "sheet" }, h("p", null, said), h("div", { class: "row" }, button), told);
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
    const gone = this.gone;
    this.#watching = this.#fetching.hidden = true;
    const shown = progress(() => this.state.api.ask("DELETE", "/weights/task", undefined, gone).catch(() => null));
    fill(this.#progress, shown.sheet);
    const task = await this.#ended(shown.tell, gone);
    this.#watching = false;
    fill(this.#progress);
    if (gone.aborted || !task) return;
    fill(this.#told, outcome(task));
    await this.#refresh();
  }

  /**
   * How the task ended, once it has; null where the view is gone before.
   *
   * @param {(task: Task) => void} tell
   * @param {AbortSignal} gone
   * @returns {Promise<Task | null>}
   */
  async #ended(tell, gone) {
    while (!gone.aborted) {
      /** @type {Task | null} */
      const task = await this.state.api.get("/weights/task", gone).catch(() => null);
      if (task && task.state !== "running") return task;
      if (task) tell(task);
      await new Promise((resolve) => setTimeout(resolve, EVERY));
    }
    return null;
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
    each.detail && h("p", null, t(each.detail)),
    each.hint && h("p", { class: "small quiet" }, t(each.hint)),
  );
}

/** @param {Survey} survey */
function summary(survey) {
  if (survey.ready) return banner("good", t("The sonic engine has all the weights that it needs."));
  const needed = survey.parts.filter((part) => part.required);
  const lacking = needed.filter((part) => part.state !== "ready");
  const size = bytes(lacking.filter(fetchable).reduce((sum, part) => sum + (part.about_bytes ?? 0), 0));
  const said = t("The sonic engine lacks {count} of {total} parts, about {size}.", { count: lacking.length, total: needed.length, size });
  return banner("warning", said, t("The preview engine needs none of them."));
}

/**
 * A bar for a task.
 *
 * @param {() => void} stop
 */
function progress(stop) {
  const said = h("span");
  const figures = h("span", { class: "number quiet" });
  const bar = h("progress", { "aria-label": t("Model files") });
  const button = h("button", {
    onclick: () => {
      button.disabled = true;
      stop();
    },
  }, t("Cancel"));
  const sheet = h("section", { class: "sheet" }, h("div", { class: "row between" }, said, button), bar, figures);
  return {
    sheet,
    /** @param {Task} task */
    tell(task) {
      fill(said, [t(task.stage || "starting"), task.detail].join(" "));
      if (task.total > 1) Object.assign(bar, { max: task.total, value: task.done });
      else bar.removeAttribute("value");
      fill(figures, amounts(task));
    },
  };
}

/** @param {Task} task */
function amounts(task) {
  if (task.total < 2) return "";
  const done = `${bytes(task.done)} / ${bytes(task.total)}`;
  return task.seconds_left === null ? done : `${done} · ${t("about {time} left", { time: duration(task.seconds_left) })}`;
}

/** @param {Task} task */
function outcome(task) {
  if (task.state === "failed") return banner("problem", t(task.error?.detail ?? ""), t(task.error?.hint ?? ""));
  if (task.state !== "done") return banner("note", t("Stopped as asked."), t("Fetch goes on where it stopped."));
  return banner("good", t(task.detail));
}

customElements.define("sonic-weights", Weights);

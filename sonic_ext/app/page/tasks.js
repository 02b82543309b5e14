// @ts-check
/** Work that the server does by itself: how it stands, a button to stop it, and how it ended. */

import { fill, h } from "./dom.js";
import { attempt, banner } from "./notes.js";
import { duration, t } from "./words.js";

/** @typedef {import("./api.js").Api} Api */
/**
 * @typedef {object} Task
 * @property {"idle" | "running" | "done" | "failed" | "cancelled"} state
 * @property {string} what
 * @property {string} stage
 * @property {string} detail
 * @property {number} done
 * @property {number} total
 * @property {number | null} seconds_left
 * @property {{ detail: string, hint: string } | null} error
 */

/** Milliseconds between two looks. */
const EVERY = 1000;

/**
 * How a task ended, once it has; null where the view is gone before.
 *
 * @param {Api} api
 * @param {string} path
 * @param {(task: Task) => void} tell called while it runs
 * @param {AbortSignal} gone
 * @returns {Promise<Task | null>}
 */
export async function ended(api, path, tell, gone) {
  while (!gone.aborted) {
    /** @type {Task | null} */
    const task = await api.get(path, gone).catch(() => null);
    if (task && task.state !== "running") return task;
    if (task) tell(task);
    await new Promise((resolve) => setTimeout(resolve, EVERY));
  }
  return null;
}

/**
 * A bar for a task that runs.
 *
 * @param {string} name
 * @param {() => Promise<any>} stop
 * @param {(task: Task) => string} figures
 */
export function taskSheet(name, stop, figures) {
  const said = h("span", { role: "status" });
  const told = h("div", { class: "told" });
  const counted = h("span", { class: "number quiet" });
  const bar = h("progress", { "aria-label": name });
  const button = h("button", { onclick: () => attempt(button, told, stop) }, t("Cancel"));
  const sheet = h("section", { class: "sheet" }, h("div", { class: "row between" }, said, button), bar, counted, told);
  return {
    sheet,
    /** @param {Task} task */
    tell(task) {
      const now = [t(task.stage || "starting"), task.detail].filter(Boolean).join(": ");
      if (said.textContent !== now) said.textContent = now;
      if (task.total > 1) Object.assign(bar, { max: task.total, value: task.done });
      else bar.removeAttribute("value");
      fill(counted, figures(task));
    },
  };
}

/**
 * How a task ended other than well; null for one that did.
 *
 * @param {Task} task
 * @param {string} [kept] what a stop leaves
 */
export function unfinished(task, kept) {
  if (task.state === "failed") return banner("problem", t(task.error?.detail ?? ""), t(task.error?.hint ?? ""));
  return task.state === "done" ? null : banner("note", t("Stopped as asked."), kept);
}

/** Seconds that are left, in words. @param {Task} task */
export function left({ seconds_left: seconds }) {
  return seconds === null || seconds < 1 ? "" : t("about {time} left", { time: duration(seconds) });
}

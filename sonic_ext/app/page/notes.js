// @ts-check
/** Sentences that stand out: what went wrong and what to do, warnings, notes. */

import { Problem } from "./api.js";
import { fill, h, icon } from "./dom.js";
import { t } from "./words.js";

/** Paths of drawings, 24 units. */
export const ICONS = {
  note: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zm0 8v6m0-9v.01",
  warning: "M12 4 2.5 20h19L12 4zm0 6v5m0 2.5v.01",
  problem: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM9 9l6 6m0-6-6 6",
  good: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zm-4.5 9 3 3 6-6",
  close: "M6 6l12 12M18 6 6 18",
  upload: "M12 16V5m-4.5 4L12 4.5 16.5 9M5 16v3h14v-3",
  camera: "M4 8h3l2-3h6l2 3h3v11H4V8zm8 2.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7z",
  microphone: "M12 3a3 3 0 0 0-3 3v6a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3zM6 11a6 6 0 0 0 12 0m-6 6v4",
  play: "M8 5l11 7-11 7V5z",
  download: "M12 4v11m-4.5-4 4.5 4.5 4.5-4.5M5 19h14",
  search: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zm5 11.5L20 20",
};

/**
 * @param {"note" | "warning" | "problem" | "good"} kind
 * @param {string} said
 * @param {string} [hint]
 */
export function banner(kind, said, hint = "") {
  const role = kind === "problem" ? "alert" : "status";
  return h("div", { class: `banner ${kind}`, role }, icon(ICONS[kind]), h("div", null, h("strong", null, said), hint && h("span", null, hint)));
}

/**
 * What went wrong, in the server's words.
 *
 * @param {unknown} error
 */
export function problem(error) {
  if (error instanceof Problem && error.status === 0) return unreachable();
  if (error instanceof Problem) return banner("problem", error.message, error.hint);
  console.error(error);
  return banner("problem", t("Something went wrong on this page."), t("Reload it; the browser's console says more."));
}

/** The server is gone. */
export function unreachable() {
  return banner("problem", t("The server does not answer."), t("Start it again; videos that were being made go on."));
}

/**
 * Do something that takes a moment: the button waits, and what goes wrong is said in a place for that. It is not
 * `disabled` meanwhile, which would take the focus away.
 *
 * @param {HTMLButtonElement} button
 * @param {Element} told
 * @param {() => Promise<void>} work
 */
export async function attempt(button, told, work) {
  if (button.ariaBusy === "true") return;
  button.ariaBusy = button.ariaDisabled = "true";
  fill(told);
  try {
    await work();
  } catch (error) {
    if (!(error instanceof DOMException && error.name === "AbortError")) fill(told, problem(error));
  } finally {
    button.ariaBusy = button.ariaDisabled = null;
  }
}

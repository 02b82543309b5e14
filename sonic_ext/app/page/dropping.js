// @ts-check
/** A place that takes a file: by a click, by dropping it there, from the clipboard. */

import { h, icon } from "./dom.js";
import { ICONS } from "./notes.js";

/**
 * @typedef {object} Drop
 * @property {string} label
 * @property {string} [hint] what can be dropped there, and how
 * @property {string} [accept] as an `<input type="file">` has it
 * @property {(file: File) => void} taken
 * @property {AbortSignal} gone ends its listening to the clipboard
 */

/** @param {Drop} drop */
export function dropZone({ label, hint = "", accept = "", taken, gone }) {
  const picked = h("input", { type: "file", accept, class: "unseen" });
  const zone = h(
    "label",
    { class: "drop" },
    picked,
    icon(ICONS.upload),
    h("span", null, h("strong", null, label), hint && h("small", null, hint)),
  );
  /** @param {FileList | undefined | null} files */
  const take = (files) => {
    if (!files?.length) return false;
    taken(files[0]);
    return true;
  };
  picked.addEventListener("change", () => {
    take(picked.files);
    picked.value = ""; // so that the same file can be picked again
  });
  listenToDrops(zone, take);
  const paste = (/** @type {ClipboardEvent} */ event) => shown(zone) && take(event.clipboardData?.files) && event.preventDefault();
  document.addEventListener("paste", paste, { signal: gone });
  return zone;
}

/**
 * @param {HTMLElement} zone
 * @param {(files: FileList | undefined) => void} take
 */
function listenToDrops(zone, take) {
  const over = (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    zone.classList.add("over");
  };
  zone.addEventListener("dragenter", over);
  zone.addEventListener("dragover", over);
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    take(event.dataTransfer?.files);
  });
}

/** Neither it nor what holds it is hidden. @param {HTMLElement} element */
function shown(element) {
  return element.getClientRects().length > 0;
}

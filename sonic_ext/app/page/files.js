// @ts-check
/** Files that are chosen, dropped and pasted. */

import { h, icon } from "./dom.js";
import { ICONS } from "./notes.js";

/**
 * A button that chooses a file.
 *
 * @param {string} accept as in HTML
 * @param {string} label
 * @param {(file: File) => void} take
 */
export function picker(accept, label, take) {
  return h("label", { class: "button pick" }, input(accept, label, take), icon(ICONS.upload), h("span", { "aria-hidden": "true" }, label));
}

/**
 * A large place to click; what lies around it takes drops.
 *
 * @param {string} accept
 * @param {string} label
 * @param {string} hint
 * @param {(file: File) => void} take
 */
export function zone(accept, label, hint, take) {
  return h(
    "label",
    { class: "zone pick" },
    input(accept, label, take),
    icon(ICONS.upload),
    h("strong", { "aria-hidden": "true" }, label),
    h("span", { class: "quiet small" }, hint),
  );
}

/** @param {string} accept @param {string} label @param {(file: File) => void} take */
function input(accept, label, take) {
  const chooser = h("input", {
    type: "file",
    class: "unseen",
    accept,
    "aria-label": label,
    onchange: () => {
      const file = chooser.files?.[0];
      chooser.value = "";
      if (file) take(file);
    },
  });
  return chooser;
}

/**
 * Let files be dropped on an element.
 *
 * @param {HTMLElement} element
 * @param {(file: File) => void} take
 */
export function droppable(element, take) {
  /** @param {DragEvent} event */
  const over = (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    element.classList.add("over");
  };
  element.addEventListener("dragenter", over);
  element.addEventListener("dragover", over);
  element.addEventListener("dragleave", (event) => {
    if (!element.contains(/** @type {Node | null} */ (event.relatedTarget))) element.classList.remove("over");
  });
  element.addEventListener("drop", (event) => {
    element.classList.remove("over");
    const file = event.dataTransfer?.files[0];
    if (!file) return;
    event.preventDefault();
    take(file);
  });
}

/**
 * Take what is pasted while an element is seen.
 *
 * @param {HTMLElement} element
 * @param {RegExp} types of files that are taken
 * @param {(file: File) => void} take
 * @param {AbortSignal} gone
 */
export function pasted(element, types, take, gone) {
  /** @param {ClipboardEvent} event */
  const paste = (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => types.test(type));
    if (!file || !element.checkVisibility() || meantForHost(event, element)) return;
    event.preventDefault();
    take(file);
  };
  document.addEventListener("paste", paste, { signal: gone, capture: true });
}

/** Beside ComfyUI's graph, which takes pictures too, we take what is pasted into the page. @param {Event} event @param {Element} element */
function meantForHost(event, element) {
  const { host } = /** @type {ShadowRoot} */ (element.getRootNode());
  return host?.getAttribute("hosted") === "comfyui" && !event.composedPath().includes(host);
}

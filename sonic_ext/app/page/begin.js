// @ts-check
/** What every element of ours in a document begins with: its look, the API, the language; and what a host may not see. */

import { Api } from "./api.js";
import { h } from "./dom.js";
import { speak } from "./words.js";

const KEPT = "sonic";
/** What the page looks like in a host, after `style.css`. @type {Record<string, string[]>} */
const LOOKS = { "": ["hosted.css"], comfyui: ["hosted.css", "comfyui.css"] };
/** Classes of a host's body that mean that it is dark: gradio's, ComfyUI's. */
const DARK = ["dark", "dark-theme"];

/**
 * The styles of an element's shadow root.
 *
 * @param {HTMLElement} element
 * @param {string[]} names of files, after `style.css`
 */
export function dress(element, names) {
  const hosted = element.getAttribute("hosted");
  const look = hosted === null ? [] : (LOOKS[hosted] ?? LOOKS[""]);
  return ["style.css", ...names, ...look].map((name) => h("link", { rel: "stylesheet", href: new URL(name, import.meta.url).href }));
}

/** Dark where the host is, or else where the system is. @param {HTMLElement} element @param {AbortSignal} signal */
export function followTheme(element, signal) {
  const host = document.body;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const inside = element.hasAttribute("hosted");
  const look = () => element.classList.toggle("dark", inside ? DARK.some((name) => host.classList.contains(name)) : system.matches);
  look();
  system.addEventListener("change", look, { signal });
  const watcher = new MutationObserver(look);
  watcher.observe(host, { attributes: true, attributeFilter: ["class"] });
  signal.addEventListener("abort", () => watcher.disconnect());
}

/** @param {HTMLElement} element @param {(problem: import("./api.js").Problem) => void} [refused] */
export function apiOf(element, refused) {
  return new Api(element.getAttribute("base") ?? new URL("../v1", import.meta.url).pathname, element.getAttribute("token") ?? "", refused);
}

/**
 * Speak the language that was chosen here, else that of the element, else the browser's.
 *
 * @param {HTMLElement} element
 * @param {Api} api
 * @returns {Promise<import("./state.js").Schema>}
 */
export async function speakTo(element, api) {
  const wanted = remembered().language ?? (element.getAttribute("lang") || navigator.language);
  const schema = await api.get("/settings");
  await speak(wanted, Object.keys(schema.languages), (known) => api.texts(known));
  return schema;
}

/**
 * Keep from ComfyUI what is done in an element: its shortcuts act on keys wherever they are pressed, and what is dropped
 * anywhere it opens as a workflow. Its undo looks at nothing but the type of what has the focus.
 *
 * @param {HTMLElement} element
 * @param {(event: KeyboardEvent) => boolean} [through] which keys it may see
 */
export function apart(element, through = () => false) {
  const keep = (/** @type {Event} */ event) => void ((event instanceof KeyboardEvent && through(event)) || event.stopPropagation());
  for (const kind of ["keydown", "keyup", "keypress", "copy", "cut", "paste", "drop"]) element.addEventListener(kind, keep);
  Object.defineProperty(element, "type", { value: "textarea" });
}

/** What this browser keeps of the page: nothing of any video or person. @returns {{ language?: string }} */
export function remembered() {
  try {
    return JSON.parse(localStorage.getItem(KEPT) ?? "{}");
  } catch {
    return {};
  }
}

/** @param {{ language?: string }} values */
export function remember(values) {
  try {
    localStorage.setItem(KEPT, JSON.stringify({ ...remembered(), ...values }));
  } catch {
    // a browser that keeps nothing
  }
}

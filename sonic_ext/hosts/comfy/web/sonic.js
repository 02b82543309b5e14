// @ts-check
// ComfyUI's half of Sonic in the browser: the page as a tab of the sidebar, and on the nodes what they say and made.
// The page itself, its texts and its look come from /sonic/page. Nothing here puts anything into a workflow: what
// is shown has neither a value nor a place in what ComfyUI saves or sends.

// @ts-expect-error: ComfyUI's page has it there
import { api } from "../../scripts/api.js";
// @ts-expect-error: the same
import { app } from "../../scripts/app.js";

const HOST = "comfyui";
const OURS = /^SonicExt/;
const GATE = "SonicExtExport";
const WIDGET = "sonic_shown";
/** A node that shows something is so wide, in the graph's units. */
const WIDE = 300;
/** What ComfyUI draws on a node by itself: pictures beside the progress bar, files that were saved. */
const THEIRS = ["$$canvas-image-preview", "$$comfy_animation_preview", "video-preview"];

const page = (/** @type {string} */ name) => new URL(api.fileURL(`/sonic/page/${name}`), location.href).href;
const spoken = () => app.extensionManager.setting.get("Comfy.Locale") ?? navigator.language;

/** A module of the page. What is wrong where it cannot be had is raised as one sentence. */
async function module(/** @type {string} */ name) {
  try {
    return await import(page(name));
  } catch (error) {
    console.error("sonic: the page could not be loaded", error);
    const answer = await fetch(page(name), {headers: {"Accept-Language": spoken()}}).catch(() => null);
    const told = answer?.status === 503 ? await answer.json().catch(() => null) : null;
    throw new Error(told
      ? `${told.detail} ${told.hint}`
      : "Sonic's page could not be loaded: reload this page; its console and ComfyUI's window say more.");
  }
}

/** An element of the page, with ComfyUI's look and language. */
function ours(/** @type {string} */ tag) {
  const made = document.createElement(tag);
  made.setAttribute("hosted", HOST);
  made.lang = spoken();
  return made;
}

// The sidebar. The element outlives its tab, and so does what somebody has begun in it.

function sidebar() {
  const place = document.createElement("div");
  place.style.padding = "10px";
  const wanted = ours("sonic-app");
  wanted.tabIndex = -1; // what is pasted after a click in it is for it
  place.append(wanted);
  /** @type {Promise<void> | null} */
  let loaded = null;
  const load = async () => {
    try {
      await module("app.js");
      const {apart} = await module("begin.js");
      apart(wanted);
    } catch (error) {
      wanted.textContent = String(error instanceof Error ? error.message : error);
      loaded = null;
    }
  };
  app.extensionManager.registerSidebarTab({
    id: "sonic",
    icon: "mdi mdi-account-voice",
    title: "Sonic",
    tooltip: "Sonic: a portrait and speech become a video",
    type: "custom",
    render: (/** @type {HTMLElement} */ panel) => {
      if (!panel.contains(place)) panel.append(place);
      loaded ??= load();
    },
  });
}

// On the nodes.

/** Node → its element, once it has run. @type {WeakMap<object, Promise<HTMLElement & {tell?: (message: object) => Promise<void>}>>} */
const shown = new WeakMap();
/** Nodes whose video is shown: ComfyUI draws nothing on them. @type {WeakSet<object>} */
const covered = new WeakSet();

/** Show what a node answered. */
async function show(/** @type {any} */ node, /** @type {any} */ message) {
  const {text, sonic} = message ?? {};
  if (!text?.length && !sonic?.length && !shown.has(node)) return;
  if (!shown.has(node)) shown.set(node, add(node));
  const element = await /** @type {Promise<any>} */ (shown.get(node));
  if (sonic?.length) cover(node);
  if (element.tell) await element.tell({text, sonic});
  else element.textContent = [...(text ?? []), element.dataset.missing].join("\n");
}

/** ComfyUI's own pictures give way to the video. */
function cover(/** @type {any} */ node) {
  covered.add(node);
  node.imgs = undefined;
  for (const widget of [...(node.widgets ?? [])].filter(each => THEIRS.includes(each.name))) {
    widget.onRemove?.();
    node.widgets.splice(node.widgets.indexOf(widget), 1);
  }
  forgetFrames(node);
}

/** Where its nodes are elements of the page, ComfyUI keeps the last frame of the progress below the video. It is in a
 * store of ComfyUI's page that no extension is handed; where that is another one, the frame stays. */
function forgetFrames(/** @type {any} */ node) {
  const mounted = /** @type {any} */ (document.querySelector("#vue-app"))?.__vue_app__;
  const frames = mounted?.config?.globalProperties?.$pinia?._s?.get?.("nodeOutput");
  const inner = node.graph?.isRootGraph === false ? `${node.graph.id}:` : "";
  frames?.revokePreviewsByLocatorId?.(`${inner}${node.id}`);
}

async function add(/** @type {any} */ node) {
  const element = await module("node.js").then(() => ours("sonic-node"), missing);
  element.toggleAttribute("gate", node.comfyClass === GATE);
  const content = /** @type {any} */ (element).content ?? element;
  const tall = () => content.offsetHeight + 8;
  const widget = node.addDOMWidget(WIDGET, "sonic", element, {serialize: false, hideOnZoom: false, getMinHeight: tall, margin: 8});
  widget.serialize = false;
  widget.serializeValue = () => undefined;
  if (node.size[0] < WIDE) node.setSize([WIDE, node.size[1]]);
  const watcher = new ResizeObserver(() => fit(node));
  watcher.observe(content);
  const removed = widget.onRemove;
  widget.onRemove = function() {
    watcher.disconnect();
    shown.delete(node);
    removed?.apply(this);
  };
  handToCanvas(element);
  return element;
}

function missing(/** @type {Error} */ problem) {
  const element = document.createElement("div");
  element.style.cssText = "white-space: pre-wrap; overflow: hidden auto; font: 13px/1.4 system-ui, sans-serif; color: var(--fg-color); height: max-content;";
  element.dataset.missing = problem.message;
  return element;
}

/** Node → the height that it was given for what it shows. @type {WeakMap<object, number>} */
const fitted = new WeakMap();

/** As tall as what it shows needs, unless somebody has made it taller. */
function fit(/** @type {any} */ node) {
  const needed = node.computeSize()[1];
  const [width, height] = node.size;
  if (height >= needed && height !== fitted.get(node)) return;
  fitted.set(node, needed);
  if (height !== needed) node.setSize([width, needed]);
  app.graph.setDirtyCanvas(true, true);
}

/** Zooming and moving the graph goes on over what a node shows, as over ComfyUI's own videos. */
function handToCanvas(/** @type {HTMLElement} */ element) {
  element.addEventListener("wheel", event => {
    const scrolled = event.composedPath().find(each => each instanceof HTMLElement && each.className === "texts");
    if (scrolled instanceof HTMLElement && scrolled.scrollHeight > scrolled.clientHeight && !event.ctrlKey) return;
    event.preventDefault();
    app.canvas.processMouseWheel(event);
  }, {passive: false});
  const middle = (/** @type {PointerEvent} */ event) => event.button === 1 || (event.buttons & 4) === 4;
  element.addEventListener("pointerdown", event => middle(event) && app.canvas.processMouseDown(event));
  element.addEventListener("pointermove", event => middle(event) && app.canvas.processMouseMove(event));
  element.addEventListener("pointerup", event => middle(event) && app.canvas.processMouseUp(event));
}

const failed = (/** @type {unknown} */ error) => console.error("sonic: a node could not show what it made", error);

/** A kind of node of ours. */
function equip(/** @type {any} */ kind) {
  const {onExecuted, onDrawBackground} = kind.prototype;
  kind.prototype.onExecuted = function(/** @type {any} */ message) {
    onExecuted?.apply(this, arguments);
    show(this, message).catch(failed);
  };
  kind.prototype.onDrawBackground = function() {
    if (!covered.has(this)) onDrawBackground?.apply(this, arguments);
  };
}

/** The node of this id, which may lie in a graph within the graph. */
function nodeOf(/** @type {string} */ id) {
  return String(id).split(":").reduce((at, part) => (at?.subgraph ?? at)?.getNodeById?.(part), app.graph);
}

/** A node begins: what it showed is of the run before. */
function begun(/** @type {string | null} */ id) {
  const node = id && nodeOf(id);
  if (!node || !shown.has(node)) return;
  covered.delete(node);
  show(node, {}).catch(() => undefined);
}

app.registerExtension({
  name: "Sonic",
  beforeRegisterNodeDef(/** @type {any} */ kind, /** @type {{name: string}} */ {name}) {
    if (OURS.test(name)) equip(kind);
  },
  /** Where ComfyUI's nodes are elements of the page, they show what a node saved unless it says this from the start. */
  nodeCreated(/** @type {any} */ node) {
    if (OURS.test(node.comfyClass)) node.hideOutputImages = true;
  },
  /** One of several open workflows comes to the front again. */
  onNodeOutputsUpdated(/** @type {Record<string, any>} */ outputs) {
    for (const [id, output] of Object.entries(outputs)) {
      const node = nodeOf(id);
      if (OURS.test(node?.comfyClass)) show(node, output).catch(failed);
    }
  },
  setup() {
    sidebar();
    api.addEventListener("executing", (/** @type {CustomEvent<string | null>} */ {detail}) => begun(detail));
  },
});

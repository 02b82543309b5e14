// @ts-check
/** What every view of the page knows: the API, the settings, all videos as they stand; and who is told. */

import { Api } from "./api.js";

/** @typedef {import("./api.js").Animation} Animation */
/**
 * @typedef {object} Schema
 * @property {{ properties: Record<string, any> }} settings JSON schema of the settings, with `x-group`
 * @property {Record<string, Record<string, any>>} presets
 * @property {{ version: string, text: string, bases: string[] }} consent
 * @property {Record<string, string>} languages tag → what the language calls itself
 * @property {Record<string, string>} groups group of a setting → heading of its section
 */

/**
 * @typedef {object} Host What the WebUI around the page takes and gives.
 * @property {(picture: File) => void} sendToImg2img
 * @property {() => Record<string, string | number>} txt2imgSettings by their names in /sdapi
 */

/** Told of what changed: `animations`, `host`, `reachable`, `refused` (the page is let in no more), `view`. */
export class State extends EventTarget {
  /**
   * @param {Api} api
   * @param {Schema} schema
   */
  constructor(api, schema) {
    super();
    this.api = api;
    this.schema = schema;
    /** @type {Animation[]} Newest first. */
    this.animations = [];
    /** Whether they were ever told. */
    this.loaded = false;
    /** Whether the server answers. */
    this.reachable = true;
    /** @type {Host | null} */
    this.host = null;
    /** The view that is shown. */
    this.view = "make";
    /** @type {AbortController} Ends everything that the page does in the background. */
    this.ended = new AbortController();
  }

  /** Follow the server's videos from now on. */
  follow() {
    this.api.watch(
      (animations) => {
        this.animations = animations;
        this.loaded = true;
        this.tell("animations");
      },
      (reachable) => {
        if (reachable === this.reachable) return;
        this.reachable = reachable;
        this.tell("reachable");
      },
      this.ended.signal,
    );
  }

  /** @param {string} id */
  animation(id) {
    return this.animations.find((each) => each.id === id);
  }

  /** @param {string} view */
  show(view) {
    this.view = view;
    this.tell("view");
  }

  /** @param {string} what */
  tell(what) {
    this.dispatchEvent(new Event(what));
  }

  /**
   * Call back now and whenever something changed, until the signal ends it.
   *
   * @param {string} what
   * @param {() => void} back
   * @param {AbortSignal} signal
   */
  on(what, back, signal) {
    this.addEventListener(what, back, { signal });
    back();
  }
}

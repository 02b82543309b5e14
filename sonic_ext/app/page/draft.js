// @ts-check
/** What a video is to be made of, while the page lives. Nothing of it is stored. */

import { base64, Problem } from "./api.js";
import { wav } from "./sound.js";

/** @typedef {import("./state.js").State} State */
/** @typedef {"portrait" | "speech" | "settings" | "video"} Place */

/** Settings that belong to one portrait. */
export const PLACED = ["face_box", "mouth", "eyes", "face_box_2"];
/** Settings that the one face alone depends on. */
const FACE = ["face_box", "mouth", "eyes", "face_detector"];

/** Kind of an error → where it is said. @type {Record<string, Place>} */
const PLACES = { BadPortrait: "portrait", NoFace: "portrait", BadAudio: "speech" };

/** Speech, and which part of it is used. */
export class Speech {
  /** @param {File} file */
  constructor(file) {
    this.file = file;
    /** @type {AudioBuffer | null} Its sound, where the browser can read it. */
    this.sound = null;
    /** Seconds: begin and end of the part. */
    this.from = 0;
    this.to = 0;
    /** @type {{ from: number, to: number, file: Blob } | null} */
    this.cut = null;
  }

  /** @param {AudioBuffer} sound */
  heard(sound) {
    this.sound = sound;
    this.to = sound.duration;
  }

  get trimmed() {
    return this.sound !== null && (this.from > 0 || this.to < this.sound.duration);
  }

  /** What is sent: the file as it is, or the part of it as WAV. */
  sent() {
    if (!this.sound || !this.trimmed) return this.file;
    const { from, to } = this;
    if (this.cut?.from !== from || this.cut.to !== to) this.cut = { from, to, file: wav(this.sound, from, to) };
    return this.cut.file;
  }
}

/** Tells `portrait`, `speech`, `second`, `settings`, `face` and `problem`. */
export class Draft extends EventTarget {
  /** @param {State} state */
  constructor({ schema }) {
    super();
    this.properties = schema.settings.properties;
    this.presets = schema.presets;
    /** @type {File | null} */
    this.portrait = null;
    /** @type {Speech | null} */
    this.speech = null;
    /** @type {Speech | null} What the second of two persons says. */
    this.second = null;
    /** @type {{ box: number[], picture: string, faces: number } | null} The face that was found last, and how many there are. */
    this.face = null;
    /** @type {number} Faces in the portrait, as far as is known. */
    this.faces = 1;
    /** @type {{ place: Place, error: unknown } | null} */
    this.problem = null;
    /** @type {import("./api.js").Animation | null} The video that was asked for last. */
    this.animation = null;
    /** The preset that the values are of; empty once one of them was changed. */
    this.preset = Object.keys(this.presets)[0] ?? "";
    /** @type {Set<string>} Settings whose control holds what cannot be used. */
    this.invalid = new Set();
    /** @type {Record<string, any>} */
    this.values = {};
    for (const [name, { default: value }] of Object.entries(this.properties)) this.values[name] = value;
  }

  /** @param {File | null} file */
  setPortrait(file) {
    this.portrait = file;
    this.face = null;
    this.faces = 1;
    this.problem = null;
    this.set(Object.fromEntries(PLACED.map((name) => [name, this.properties[name].default])));
    this.#tell("portrait", "problem", "second");
  }

  /** @param {Speech | null} speech */
  setSpeech(speech) {
    this.speech = speech;
    this.#tell("speech");
  }

  /** @param {Speech | null} speech of the second person */
  setSecond(speech) {
    this.second = speech;
    this.#tell("second", "speech");
  }

  /** @param {Record<string, any>} values */
  set(values) {
    Object.assign(this.values, values);
    for (const name of Object.keys(values)) {
      this.invalid.delete(name);
      if (this.#presetting.has(name)) this.preset = "";
    }
    this.#tell("settings");
  }

  /** @param {string} name */
  refuse(name) {
    this.invalid.add(name);
    this.#tell("settings");
  }

  /** @param {string} preset */
  apply(preset) {
    const names = [...this.#presetting];
    this.set(Object.fromEntries(names.map((name) => [name, this.presets[preset][name] ?? this.properties[name].default])));
    this.preset = preset;
    this.#tell("settings");
  }

  reset() {
    this.invalid.clear();
    this.set(Object.fromEntries(Object.entries(this.properties).map(([name, { default: value }]) => [name, value])));
    this.preset = Object.keys(this.presets)[0] ?? "";
    this.#tell("settings");
  }

  /** @param {string} name */
  differs(name) {
    return JSON.stringify(this.values[name]) !== JSON.stringify(this.properties[name].default);
  }

  /** A request's settings: what differs from the defaults. @param {string[]} [names] */
  settings(names = Object.keys(this.properties)) {
    return Object.fromEntries(names.filter((name) => this.differs(name)).map((name) => [name, this.values[name]]));
  }

  /** A request for a video. */
  async request() {
    const [portrait, audio] = await Promise.all([encoded(this.portrait ?? new Blob()), encoded(this.speech?.sent() ?? new Blob())]);
    const second = this.faces > 1 && this.second ? { audio_2: await encoded(this.second.sent()) } : {};
    return { portrait, audio, ...second, settings: this.settings() };
  }

  /** A request that finds the face, while there is no speech yet. @param {Blob} audio any speech */
  async faceRequest(audio) {
    const settings = { ...this.settings(FACE), engine: "preview" };
    return { portrait: await encoded(this.portrait ?? new Blob()), audio: await encoded(audio), settings };
  }

  /** @param {{ box: number[], picture: string, faces: number } | null} face */
  found(face) {
    const before = this.faces;
    this.face = face;
    this.faces = face?.faces ?? 1;
    this.#tell("face");
    if (this.faces === before) return;
    this.#tell("second");
    if (this.second) this.#tell("speech"); // what the video will be is another
  }

  /** Say what went wrong where it belongs, or that nothing does. @param {unknown} error @param {Place} [place] */
  fail(error, place = "video") {
    this.problem = error ? { error, place: this.placeOf(error) ?? place } : null;
    this.#tell("problem");
  }

  /**
   * Call back now and at each of these, until the signal ends it.
   *
   * @param {string[]} events
   * @param {() => void} back
   * @param {AbortSignal} signal
   */
  on(events, back, signal) {
    for (const each of events) this.addEventListener(each, back, { signal });
    back();
  }

  /** Settings that an error names. @param {Problem} error */
  named({ message }) {
    return Object.keys(this.properties).filter((name) => new RegExp(`(^|\\W)${name}(\\W|$)`).test(message));
  }

  /** Where an error belongs, as far as its kind says it. @param {unknown} error @returns {Place | undefined} */
  placeOf(error) {
    if (!(error instanceof Problem)) return undefined;
    const byHand = PLACED.some((name) => this.values[name]);
    if (error.kind === "BadSetting") return byHand && !this.named(error).length ? "portrait" : "settings";
    return PLACES[error.kind];
  }

  /** Settings that some preset changes, so that presets do not add up. */
  get #presetting() {
    return new Set(Object.values(this.presets).flatMap((values) => Object.keys(values)));
  }

  /** @param {...string} events */
  #tell(...events) {
    for (const each of events) this.dispatchEvent(new Event(each));
  }
}

/** @type {WeakMap<State, Draft>} */
const drafts = new WeakMap();

/** The page's one draft: it outlives a change of the language. @param {State} state */
export function draftOf(state) {
  const draft = drafts.get(state) ?? new Draft(state);
  drafts.set(state, draft);
  return draft;
}

/** @type {WeakMap<Blob, Promise<string>>} */
const texts = new WeakMap();

/** A file in base64, made once. @param {Blob} file */
function encoded(file) {
  const text = texts.get(file) ?? base64(file);
  texts.set(file, text);
  return text;
}

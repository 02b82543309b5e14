// @ts-check
/** `<sonic-player>`: a video with its own controls, or several played in step. */

import { fill, h, icon } from "./dom.js";
import { ICONS } from "./notes.js";
import { View } from "./view.js";
import { t } from "./words.js";

/** @typedef {import("./api.js").Api} Api */
/**
 * @typedef {object} Clip
 * @property {string} url of the video, such as `borrowed` gives
 * @property {string} name that pictures of it are saved under
 * @property {string} [caption] what stands below it
 */

const DRAWN = {
  pause: "M8 5v14m8-14v14",
  loop: "M17 3l3 3-3 3M4 11V9a3 3 0 0 1 3-3h13M7 21l-3-3 3-3m13-2v2a3 3 0 0 1-3 3H4",
  loud: "M4 9.5v5h3.5L12 18.5v-13L7.5 9.5H4zm11.5-1a5 5 0 0 1 0 7m2.5-9.5a8.5 8.5 0 0 1 0 12",
  mute: "M4 9.5v5h3.5L12 18.5v-13L7.5 9.5H4zm12 0 5 5m0-5-5 5",
  full: "M4 9V4h5m6 0h5v5m0 6v5h-5m-6 0H4v-5",
};
/** Seconds that videos may be apart before one is put right. */
const APART = 0.08;

export class Player extends View {
  /** @type {Clip[]} */
  clips = [];
  fps = 25;
  /** Which clip the others follow: the longest. */
  lead = 0;
  /** @type {HTMLVideoElement[]} */
  #videos = [];
  #lead = h("video");
  #play = tool(ICONS.play, t("Play"), () => this.toggle());
  #mute = tool(DRAWN.loud, t("Mute"), () => this.#hush(!this.#silent));
  #loop = tool(DRAWN.loop, t("Loop"), () => this.#repeat(!this.#lead.loop));
  #scrubber = h("input", { type: "range", min: "0", max: "0", step: "1", value: "0", "aria-label": t("Frame") });
  #volume = h("input", { type: "range", class: "volume", min: "0", max: "1", step: "0.05", value: "1", "aria-label": t("Volume") });
  #time = h("span", { class: "number small time" });
  #frames = 1;
  #heard = 0;
  #silent = false;

  show() {
    this.className = "player";
    this.#videos = this.clips.map((clip, number) => this.#video(clip, number));
    this.#lead = this.#videos[this.lead] ?? this.#lead;
    this.#scrubber.oninput = () => this.#seek(Number(this.#scrubber.value));
    this.#volume.oninput = () => this.#loudness(Number(this.#volume.value));
    fill(this, h("div", { class: "screens" }, ...this.#videos.map((video, number) => this.#screen(video, number))), this.#controls());
    this.onkeydown = (event) => this.#keyed(event);
    this.state.on("view", () => this.checkVisibility() || this.pause(), this.gone);
    this.gone.addEventListener("abort", () => this.pause());
    this.#repeat(this.#lead.loop);
    this.#hush(false);
    this.#tell();
  }

  async toggle() {
    if (!this.#lead.paused) return this.pause();
    if (this.#lead.ended) this.#seek(0);
    await Promise.all(this.#videos.map((video) => video.play())).catch(() => this.pause());
  }

  pause() {
    for (const video of this.#videos) video.pause();
  }

  /** Go on, or back, by some frames, and stand. @param {number} frames */
  step(frames) {
    this.pause();
    this.#seek(this.#frame + frames);
  }

  /** The picture that is shown, as a PNG: of several videos side by side. */
  async picture() {
    const drawn = this.#videos.map((video) => ({ video, width: video.videoWidth * (this.#lead.videoHeight / video.videoHeight) }));
    const canvas = h("canvas", { width: Math.round(drawn.reduce((sum, { width }) => sum + width, 0)), height: this.#lead.videoHeight });
    const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    let left = 0;
    for (const { video, width } of drawn) {
      pen.drawImage(video, left, 0, width, canvas.height);
      left += width;
    }
    const made = await new Promise((/** @type {(made: Blob | null) => void} */ resolve) => canvas.toBlob(resolve, "image/png"));
    if (made) save(made, `${this.clips[0].name.replace(/\.\w+$/, "")}-${(this.#frame / this.fps).toFixed(2)}s.png`);
  }

  /** Where the video stands, in seconds. */
  get seconds() {
    return this.#lead.currentTime;
  }

  /** Number of the frame that is shown, from 0. */
  get #frame() {
    return Math.min(this.#frames - 1, Math.floor(this.#lead.currentTime * this.fps + 0.001));
  }

  /** @param {Clip} clip @param {number} number */
  #video(clip, number) {
    const video = h("video", { src: clip.url, playsInline: true, preload: "auto", tabIndex: 0, onclick: () => this.toggle() });
    video.setAttribute("aria-label", clip.caption ?? clip.name);
    if (number === this.lead) {
      video.onplay = () => (this.#changed(), this.#follow());
      video.onpause = () => (this.#changed(), this.#gather(0));
      video.onseeked = () => this.#tell();
      video.onloadedmetadata = () => this.#measured();
    }
    return video;
  }

  /** @param {HTMLVideoElement} video @param {number} number */
  #screen(video, number) {
    const { caption } = this.clips[number];
    if (this.clips.length < 2) return h("figure", null, video);
    const heard = h("input", { type: "radio", name: "player-heard", checked: number === this.#heard, onchange: () => this.#hear(number) });
    return h("figure", null, video, h("figcaption", null, h("span", null, caption), h("label", { class: "row small" }, heard, t("Sound"))));
  }

  #controls() {
    const keep = tool(ICONS.camera, t("Save this frame"), () => this.picture());
    const full = tool(DRAWN.full, t("Full screen"), () => this.#fill());
    full.hidden = !this.requestFullscreen;
    return h(
      "div",
      { class: "controls", role: "group", "aria-label": t("Video controls") },
      this.#play, this.#scrubber, this.#time,
      h("div", { class: "tools" }, this.#loop, this.#mute, this.#volume, keep, full),
    );
  }

  #measured() {
    this.#frames = Math.max(1, Math.round(this.#lead.duration * this.fps));
    this.#scrubber.max = String(this.#frames - 1);
    this.#tell();
  }

  /** @param {number} frame */
  #seek(frame) {
    const wanted = Math.max(0, Math.min(this.#frames - 1, frame));
    for (const video of this.#videos) video.currentTime = (wanted + 0.5) / this.fps;
    this.#tell(wanted);
  }

  #tell(frame = this.#frame) {
    const [at, all] = [clock(frame / this.fps), clock(this.#frames / this.fps)];
    this.#scrubber.value = String(frame);
    this.#scrubber.setAttribute("aria-valuetext", t("Frame {number} of {count}, {time}", { number: frame + 1, count: this.#frames, time: at }));
    this.#time.textContent = `${at} / ${all}`;
  }

  #changed() {
    name(this.#play, this.#lead.paused ? t("Play") : t("Pause"), this.#lead.paused ? ICONS.play : DRAWN.pause);
  }

  /** Keep the scrubber, and the other videos, with the leading one while it plays. */
  #follow() {
    if (this.#lead.paused) return;
    this.#gather(APART);
    this.#tell();
    requestAnimationFrame(() => this.#follow());
  }

  /** @param {number} apart seconds that are borne */
  #gather(apart) {
    for (const video of this.#videos) {
      if (video === this.#lead) continue;
      const at = Math.min(this.#lead.currentTime, video.duration || 0);
      if (Math.abs(video.currentTime - at) > apart) video.currentTime = at;
      if (this.#lead.paused) video.pause();
      else if (video.paused && at < (video.duration || 0) - APART) video.play().catch(() => undefined);
    }
  }

  /** @param {boolean} loop */
  #repeat(loop) {
    this.#lead.loop = loop;
    this.#loop.setAttribute("aria-pressed", String(loop));
  }

  /** @param {number} number of the video whose sound is wanted */
  #hear(number) {
    this.#heard = number;
    this.#hush(this.#silent);
  }

  /** @param {boolean} silent */
  #hush(silent) {
    this.#silent = silent;
    this.#videos.forEach((video, number) => (video.muted = silent || number !== this.#heard));
    name(this.#mute, t("Mute"), silent ? DRAWN.mute : DRAWN.loud);
    this.#mute.setAttribute("aria-pressed", String(silent));
  }

  /** @param {number} volume */
  #loudness(volume) {
    for (const video of this.#videos) video.volume = volume;
    this.#hush(volume === 0);
  }

  #fill() {
    const root = /** @type {ShadowRoot | Document} */ (this.getRootNode());
    return root.fullscreenElement ? document.exitFullscreen() : this.requestFullscreen();
  }

  /** @param {KeyboardEvent} event */
  #keyed(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.altKey || event.ctrlKey || event.metaKey || target === this.#volume || target.matches("[type=radio]")) return;
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) this.step(event.shiftKey ? step * 10 : step);
    else if (event.key === " " && target.tagName !== "BUTTON") this.toggle();
    else return;
    event.preventDefault();
  }
}

/**
 * A file of the API as an address for `src`, until the signal ends it.
 *
 * @param {Api} api
 * @param {string} address
 * @param {AbortSignal} signal
 */
export async function borrowed(api, address, signal) {
  const url = URL.createObjectURL(await api.file(address, signal));
  const end = () => URL.revokeObjectURL(url);
  if (signal.aborted) end();
  else signal.addEventListener("abort", end, { once: true });
  return url;
}

/**
 * Let the browser keep a file.
 *
 * @param {Blob} file
 * @param {string} name
 */
export function save(file, name) {
  const url = URL.createObjectURL(file);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Minutes and seconds to the hundredth: `1:02.40`. @param {number} seconds */
function clock(seconds) {
  const hundredths = Math.round(seconds * 100);
  return `${Math.floor(hundredths / 6000)}:${((hundredths % 6000) / 100).toFixed(2).padStart(5, "0")}`;
}

/**
 * A button of which only the drawing is seen.
 *
 * @param {string} path
 * @param {string} label
 * @param {() => void} press
 */
export function tool(path, label, press) {
  const made = h("button", { type: "button", class: "plain tool", onclick: press });
  name(made, label, path);
  return made;
}

/** @param {HTMLButtonElement} button @param {string} label @param {string} path */
function name(button, label, path) {
  button.title = label;
  button.setAttribute("aria-label", label);
  fill(button, icon(path));
}

customElements.define("sonic-player", Player);

// @ts-check
/** `<sonic-speech>`: a file or a recording, and the part of it that is spoken; of two persons each has one. */

import { Speech } from "./draft.js";
import { fill, h, icon } from "./dom.js";
import { droppable, pasted, picker, zone } from "./files.js";
import { within } from "./grip.js";
import { banner, ICONS, problem } from "./notes.js";
import { decoded, wav } from "./sound.js";
import { made, View } from "./view.js";
import { STOP, Waveform } from "./waveform.js";
import { bytes, t } from "./words.js";

/** @typedef {import("./draft.js").Draft} Draft */

const ACCEPT = "audio/*,video/*";

export class SpeechPanel extends View {
  /** @type {Draft} */
  draft = /** @type {any} */ (undefined);
  /** 2 for that of the second person, which is there where the portrait has two faces. */
  number = 1;
  #body = h("div", { class: "stack" });
  #told = h("div", { class: "told" });
  #shown = new AbortController();
  /** @type {Speech | null} What is shown: trimmed, it stays. */
  #laid = null;
  /** @type {Speech | null} What was given last. */
  #reading = null;

  show() {
    this.className = "sheet";
    droppable(this, (file) => this.#take(file));
    if (this.number === 1) {
      fill(this, h("h2", null, t("Speech")), this.#told, this.#body);
      pasted(this, /^(audio|video)\//, (file) => this.#take(file), this.gone);
      this.draft.on(["problem"], () => this.#tell(), this.gone);
    } else {
      const said = t("Two faces were found. With a second speech the left one says the first and the right one this.");
      fill(this, h("h2", null, t("Second speech")), h("p", { class: "quiet small" }, said), this.#told, this.#body);
    }
    this.draft.on([this.number === 1 ? "speech" : "second"], () => this.#lay(), this.gone);
    this.gone.addEventListener("abort", () => this.#shown.abort());
  }

  get #given() {
    return this.number === 1 ? this.draft.speech : this.draft.second;
  }

  /** @param {Speech | null} speech */
  #give(speech) {
    if (this.number === 1) this.draft.setSpeech(speech);
    else this.draft.setSecond(speech);
  }

  /** @param {File} file */
  async #take(file) {
    const speech = (this.#reading = new Speech(file));
    this.#laid = null;
    fill(this.#body, h("p", { class: "quiet", role: "status" }, t("Reading {name}…", { name: file.name })));
    const sound = await decoded(file);
    if (sound) speech.heard(sound);
    if (speech === this.#reading && !this.gone.aborted) this.#give(speech);
  }

  #lay() {
    const speech = this.#given;
    if (speech && speech === this.#laid) return;
    this.#laid = speech;
    this.#shown.abort();
    this.#shown = new AbortController();
    if (!speech) return this.#empty();
    const { file, sound } = speech;
    const named = h("p", { class: "named" }, h("strong", null, file.name), " ", h("span", { class: "quiet number" }, bytes(file.size)));
    const changed = () => this.#give(speech);
    fill(this.#body, named, sound ? made(Waveform, this.state, { speech, sound, changed }) : unheard(), this.#sources());
  }

  #empty() {
    const hint = t("Drop a sound file here, or a video with sound.");
    fill(this.#body, zone(ACCEPT, t("Choose speech"), hint, (file) => this.#take(file)), h("div", { class: "row" }, this.#microphone()));
  }

  #sources() {
    return h(
      "div",
      { class: "row" },
      picker(ACCEPT, t("Other speech"), (file) => this.#take(file)),
      this.#microphone(),
      h("button", { class: "plain", onclick: () => this.#give(null) }, icon(ICONS.close), t("Remove")),
    );
  }

  #microphone() {
    if (!isSecureContext) return h("p", { class: "quiet small" }, t("Browsers allow the microphone over HTTPS only, or on this computer itself."));
    return h("button", { onclick: () => this.#record() }, icon(ICONS.microphone), t("Record speech"));
  }

  async #record() {
    fill(this.#told);
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    } catch {
      return fill(this.#told, banner("problem", t("The microphone cannot be used."), t("Allow it in the browser, and plug one in.")));
    }
    this.#shown.abort();
    this.#laid = null;
    const ended = (this.#shown = new AbortController());
    const recorder = new MediaRecorder(stream);
    /** @type {Blob[]} */
    const parts = [];
    recorder.ondataavailable = ({ data }) => parts.push(data);
    recorder.onstop = () => {
      stream.getTracks().forEach((track) => track.stop());
      ended.abort();
    };
    ended.signal.addEventListener("abort", () => recorder.state !== "inactive" && recorder.stop());
    const stop = h("button", { class: "primary" }, icon(STOP), t("Stop"));
    stop.onclick = () => {
      recorder.addEventListener("stop", () => this.#recorded(new Blob(parts, { type: recorder.mimeType })));
      recorder.stop();
    };
    const drop = h("button", { onclick: () => (recorder.stop(), this.#lay()) }, t("Cancel"));
    fill(this.#body, meter(stream, ended.signal), h("div", { class: "row" }, stop, drop));
    recorder.start();
    stop.focus();
  }

  /** Recordings become WAV: what browsers record lacks its length. @param {Blob} recording */
  async #recorded(recording) {
    const sound = await decoded(recording);
    const name = t("recording");
    const kind = recording.type.includes("mp4") ? "mp4" : "webm";
    this.#take(sound ? new File([wav(sound)], `${name}.wav`, { type: "audio/wav" }) : new File([recording], `${name}.${kind}`, { type: recording.type }));
  }

  #tell() {
    const told = this.draft.problem;
    fill(this.#told, told?.place === "speech" && problem(told.error));
  }
}

customElements.define("sonic-speech", SpeechPanel);

/** Said of a file that the browser cannot read: the server may. */
function unheard() {
  return banner("note", t("This browser cannot show the sound of this file."), t("It is sent as it is."));
}

/**
 * Level and time of a recording.
 *
 * @param {MediaStream} stream
 * @param {AbortSignal} ended
 */
function meter(stream, ended) {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  context.createMediaStreamSource(stream).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const level = h("div", { class: "level" });
  const time = h("span", { class: "number" });
  const began = performance.now();
  const draw = () => {
    if (ended.aborted) return void context.close();
    analyser.getFloatTimeDomainData(samples);
    const loudness = 20 * Math.log10(Math.max(1e-4, Math.hypot(...samples) / Math.sqrt(samples.length)));
    level.style.transform = `scaleX(${within((loudness + 60) / 60, 0, 1)})`;
    time.textContent = clock((performance.now() - began) / 1000);
    requestAnimationFrame(draw);
  };
  draw();
  return h("div", { class: "recording" }, h("strong", null, t("Recording")), time, h("div", { class: "meter", "aria-hidden": "true" }, level));
}

/** `1:05`. @param {number} seconds */
function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

// @ts-check
/** `<sonic-make>`: portrait and speech in, checked, made, shown. */

import { draftOf, Speech } from "./draft.js";
import { fill, h } from "./dom.js";
import { droppable } from "./files.js";
import { SettingsForm } from "./form.js";
import { Making } from "./making.js";
import { attempt, banner, problem } from "./notes.js";
import { Portrait } from "./portrait.js";
import { decoded } from "./sound.js";
import { SpeechPanel } from "./speech.js";
import { made, View } from "./view.js";
import { bytes, duration, t } from "./words.js";

/** Milliseconds after the last change until it is looked at. */
const SETTLED = 400;

export class Make extends View {
  /** @type {import("./draft.js").Draft} */
  draft = /** @type {any} */ (undefined);
  #facts = h("div", { class: "stack" });
  #told = h("div", { class: "told" });
  #making = h("div", { class: "told" });
  #generate = h("button", { class: "primary wide", onclick: () => attempt(this.#generate, this.#told, () => this.#begin()) });
  #asking = new AbortController();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  show() {
    const draft = (this.draft = draftOf(this.state));
    this.className = "make stack";
    fill(
      this,
      this.#example(),
      h(
        "div",
        { class: "columns studio" },
        h(
          "div",
          { class: "inputs" },
          h("div", { class: "stack" }, made(Portrait, this.state, { draft }), this.#generating(), made(SpeechPanel, this.state, { draft }), this.#second()),
          made(SettingsForm, this.state, { draft }),
        ),
        h("div", { class: "stack aside" }, this.#video(), this.#making),
      ),
    );
    droppable(this, () => undefined); // a file that misses its place does not replace the page
    draft.on(["portrait", "speech", "settings"], () => this.#changed(), this.gone);
    draft.on(["problem"], () => this.#tell(), this.gone);
    this.state.on("reachable", () => this.state.reachable && draft.problem && this.#changed(), this.gone);
    this.#follow();
    this.gone.addEventListener("abort", () => this.#stop());
  }

  /** Where nothing is there yet: something to begin with. */
  #example() {
    const told = h("div", { class: "told" });
    const button = h("button", { onclick: () => attempt(button, told, () => this.#begun()) }, t("Try the example"));
    const watch = h("button", { class: "plain", onclick: () => attempt(watch, told, () => this.#watch(finished)) }, t("Watch its video"));
    const finished = h("div", { class: "told" });
    const said = h("span", null, t("A portrait and speech make a video. New here? The example has both."));
    const offered = h("div", { class: "stack" }, h("div", { class: "banner offer" }, said, h("div", { class: "row" }, watch, button)), told, finished);
    this.draft.on(["portrait", "speech"], () => (offered.hidden = Boolean(this.draft.portrait || this.draft.speech)), this.gone);
    return offered;
  }

  /** What comes of the example, before anything is made. @param {HTMLElement} place */
  async #watch(place) {
    const address = URL.createObjectURL(await shipped("hello.mp4", "video/mp4"));
    this.gone.addEventListener("abort", () => URL.revokeObjectURL(address));
    const video = h("video", { class: "finished", src: address, controls: true, loop: true, playsInline: true, "aria-label": t("The example's video") });
    fill(place, video);
    await video.play().catch(() => undefined); // a browser that wants a click for sound has one: controls
  }

  async #begun() {
    const [portrait, audio] = await Promise.all([shipped("portrait.jpg", "image/jpeg"), shipped("speech.wav", "audio/wav")]);
    const speech = new Speech(audio);
    const sound = await decoded(audio);
    if (sound) speech.heard(sound);
    this.draft.setPortrait(portrait);
    this.draft.setSpeech(speech);
  }

  /** Portraits are made by a WebUI alone: elsewhere nobody fetches that module. */
  #generating() {
    const place = h("div", { hidden: true });
    const load = async () => {
      const { Generate } = await import("./generate.js");
      if (!this.gone.aborted) place.replaceWith(made(Generate, this.state, { draft: this.draft }));
    };
    if (this.state.api.token) load().catch((error) => console.error(error));
    return place;
  }

  /** The second person's speech, where the portrait has two faces. */
  #second() {
    const place = h("div", { hidden: true });
    this.draft.on(["second"], () => {
      const wanted = this.draft.faces > 1;
      if (wanted !== place.hidden) return;
      place.hidden = !wanted;
      fill(place, wanted && made(SpeechPanel, this.state, { draft: this.draft, number: 2 }));
    }, this.gone);
    return place;
  }

  #video() {
    fill(this.#generate, t("Generate"));
    return h("section", { class: "sheet" }, h("h2", null, t("Video")), this.#facts, this.#told, this.#generate);
  }

  #changed() {
    const { portrait, speech, invalid } = this.draft;
    this.#stop();
    this.#allow();
    if (invalid.size) return fill(this.#facts, banner("note", t("Mend the marked settings first.")));
    if (!portrait || !speech) fill(this.#facts, h("p", { class: "quiet" }, wanted(portrait, speech)));
    else if (this.#facts.querySelector("dl")) this.#facts.setAttribute("aria-busy", "true");
    else fill(this.#facts, h("p", { class: "quiet" }, t("Checking…")));
    if (portrait) this.#timer = setTimeout(() => this.#check(), SETTLED);
  }

  #allow() {
    const { portrait, speech, invalid } = this.draft;
    this.#generate.disabled = !portrait || !speech || invalid.size > 0;
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#asking.abort();
  }

  /** What the video will be; without speech, where the face is. */
  async #check() {
    const { draft } = this;
    const { signal } = (this.#asking = new AbortController());
    const { speech } = draft;
    try {
      const body = speech ? await draft.request() : await draft.faceRequest(await exampleSpeech());
      signal.throwIfAborted();
      const found = await this.state.api.post("/preflight", body, signal);
      draft.fail(null);
      draft.found({ box: found.face_box, picture: found.picture, faces: found.faces });
      if (speech) fill(this.#facts, facts(found), ...found.warnings.map((/** @type {string} */ each) => banner("warning", each)));
    } catch (error) {
      if (signal.aborted) return;
      if (speech) fill(this.#facts);
      draft.fail(error);
      if (draft.problem?.place === "portrait") draft.found(null);
    } finally {
      if (!signal.aborted) this.#facts.removeAttribute("aria-busy");
    }
  }

  async #begin() {
    try {
      this.draft.animation = await this.state.api.post("/animations", await this.draft.request());
      this.#follow();
    } catch (error) {
      this.draft.fail(error);
    }
  }

  #follow() {
    const { draft } = this;
    fill(this.#making, draft.animation && made(Making, this.state, { draft, animation: draft.animation }));
  }

  #tell() {
    const told = this.draft.problem;
    if (!told) return fill(this.#told);
    fill(this.#told, told.place === "video" ? problem(told.error) : h("p", { class: "quiet" }, ELSEWHERE[told.place]()));
  }
}

customElements.define("sonic-make", Make);

const ELSEWHERE = {
  portrait: () => t("The portrait cannot be used yet: see there."),
  speech: () => t("The speech cannot be used yet: see there."),
  settings: () => t("A setting does not fit: see there."),
};

/** @param {unknown} portrait @param {unknown} speech */
function wanted(portrait, speech) {
  if (portrait) return t("Add speech. What the video will be appears here first.");
  if (speech) return t("Add a portrait. What the video will be appears here first.");
  return t("Add a portrait and speech. What the video will be appears here first.");
}

/** @param {any} found */
function facts(found) {
  const card = found.device_memory_needed;
  const said = [
    [t("Length"), duration(found.seconds)],
    [t("Frames"), t("{count} at {fps}/s", { count: found.frames, fps: found.fps })],
    [t("Size"), `${found.width} × ${found.height}`],
    [t("Engine"), found.engine],
    [t("Takes about"), duration(found.seconds_needed)],
    [t("Memory"), bytes(found.memory_needed)],
    ...(card ? [[t("Graphics memory"), bytes(card)]] : []),
  ];
  return h("dl", { class: "facts" }, ...said.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", { class: "number" }, value))));
}

/** A file that comes with the page. @param {string} name @param {string} type */
async function shipped(name, type) {
  const answer = await fetch(new URL(`example/${name}`, import.meta.url));
  if (!answer.ok) throw new Error(`${name}: HTTP ${answer.status}`);
  return new File([await answer.blob()], name, { type });
}

/** @type {Promise<File> | undefined} */
let example;

function exampleSpeech() {
  return (example ??= shipped("speech.wav", "audio/wav"));
}

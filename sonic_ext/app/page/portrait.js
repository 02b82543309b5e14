// @ts-check
/** `<sonic-portrait>`: the picture, and the face on it. */

import { fill, h, icon } from "./dom.js";
import { FaceEditor } from "./face.js";
import { droppable, pasted, picker, zone } from "./files.js";
import { banner, ICONS, problem } from "./notes.js";
import { made, View } from "./view.js";
import { t } from "./words.js";

/** @typedef {import("./draft.js").Draft} Draft */

const ACCEPT = "image/*";

export class Portrait extends View {
  /** @type {Draft} */
  draft = /** @type {any} */ (undefined);
  #body = h("div", { class: "stack" });
  #told = h("div", { class: "told" });
  /** Ends what belongs to the picture that is shown. */
  #shown = new AbortController();

  show() {
    this.className = "sheet";
    fill(this, h("h2", null, t("Portrait")), this.#told, this.#body);
    droppable(this, (file) => this.draft.setPortrait(file));
    pasted(this, /^image\//, (file) => this.draft.setPortrait(file), this.gone);
    this.draft.on(["portrait"], () => this.#lay(), this.gone);
    this.draft.on(["problem"], () => this.#tell(), this.gone);
    this.gone.addEventListener("abort", () => this.#shown.abort());
  }

  #lay() {
    this.#shown.abort();
    const { signal } = (this.#shown = new AbortController());
    const file = this.draft.portrait;
    if (!file) return this.#empty();
    const address = URL.createObjectURL(file);
    signal.addEventListener("abort", () => URL.revokeObjectURL(address));
    const picture = h("img", { class: "picture", alt: t("Portrait: {name}", { name: file.name }), draggable: false });
    const shown = () => fill(this.#body, made(FaceEditor, this.state, { draft: this.draft, picture }), this.#sources());
    picture.onload = () => signal.aborted || shown();
    picture.onerror = () => signal.aborted || fill(this.#body, this.#unshown(file, signal), this.#sources());
    picture.src = address;
  }

  #empty() {
    const hint = t("Drop a picture here, or paste one. One clear face, seen from the front, works best.");
    fill(this.#body, zone(ACCEPT, t("Choose a portrait"), hint, (file) => this.draft.setPortrait(file)), h("div", { class: "row" }, this.#camera()));
  }

  #sources() {
    return h(
      "div",
      { class: "row" },
      picker(ACCEPT, t("Another portrait"), (file) => this.draft.setPortrait(file)),
      this.#camera(),
      this.#sending(),
      h("button", { class: "plain", onclick: () => this.draft.setPortrait(null) }, icon(ICONS.close), t("Remove")),
    );
  }

  #sending() {
    const send = h("button", { onclick: () => this.draft.portrait && this.state.host?.sendToImg2img(this.draft.portrait) }, t("Send to img2img"));
    this.state.on("host", () => (send.hidden = !this.state.host), this.#shown.signal);
    return send;
  }

  /** What this browser cannot show, the server may. @param {File} file @param {AbortSignal} gone */
  #unshown(file, gone) {
    const shown = h("img", { class: "picture", alt: "", hidden: true });
    this.draft.on(["face"], () => {
      if (!this.draft.face) return;
      shown.src = this.draft.face.picture;
      shown.hidden = false;
    }, gone);
    return h("div", { class: "stack" }, banner("note", t("This browser cannot show {name}.", { name: file.name }), t("It is sent as it is.")), shown);
  }

  #camera() {
    if (!isSecureContext) return h("p", { class: "quiet small" }, t("Browsers allow the webcam over HTTPS only, or on this computer itself."));
    return h("button", { onclick: () => this.#film() }, icon(ICONS.camera), t("Webcam"));
  }

  async #film() {
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: { ideal: 1280 }, height: { ideal: 960 } } });
    } catch {
      return fill(this.#told, banner("problem", t("The webcam cannot be used."), t("Allow it in the browser, and close other programs that use it.")));
    }
    this.#shown.abort();
    const { signal } = (this.#shown = new AbortController());
    signal.addEventListener("abort", () => stream.getTracks().forEach((track) => track.stop()));
    const film = h("video", { class: "picture mirrored", autoplay: true, muted: true, playsInline: true, srcObject: stream, "aria-label": t("Webcam") });
    const take = h("button", { class: "primary", onclick: async () => this.draft.setPortrait(await still(film)) }, icon(ICONS.camera), t("Take the picture"));
    const close = h("button", { onclick: () => this.#lay() }, t("Cancel"));
    fill(this.#told);
    fill(this.#body, film, h("div", { class: "row" }, take, close));
    take.focus();
  }

  #tell() {
    const told = this.draft.problem;
    fill(this.#told, told?.place === "portrait" && problem(told.error));
  }
}

customElements.define("sonic-portrait", Portrait);

/** What a webcam shows now. @param {HTMLVideoElement} film @returns {Promise<File>} */
async function still(film) {
  const canvas = h("canvas", { width: film.videoWidth, height: film.videoHeight });
  canvas.getContext("2d")?.drawImage(film, 0, 0);
  const picture = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  return new File([picture], "webcam.png", { type: "image/png" });
}

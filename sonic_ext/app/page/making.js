// @ts-check
/** `<sonic-making>`: one video on its way, then its preview. */

import { Problem } from "./api.js";
import { fill, h } from "./dom.js";
import { attempt, banner, problem } from "./notes.js";
import { made, View } from "./view.js";
import { duration, t } from "./words.js";

/** @typedef {import("./api.js").Animation} Animation */
/** @typedef {import("./draft.js").Draft} Draft */

export class Making extends View {
  /** @type {Draft} */
  draft = /** @type {any} */ (undefined);
  /** @type {Animation} As the server answered; later as it is told. */
  animation = /** @type {any} */ (undefined);
  #known = false;
  #body = h("div", { class: "stack" });
  #told = h("div", { class: "told" });
  #stage = h("strong", { role: "status" });
  #numbers = h("span", { class: "quiet number" });
  #bar = h("progress", { max: 1, "aria-label": t("Progress") });
  #laid = "";

  show() {
    this.className = "sheet";
    this.#laid = "";
    fill(this, this.#body, this.#told);
    this.state.on("animations", () => this.#follow(), this.gone);
  }

  #follow() {
    const now = this.state.animation(this.animation.id);
    if (!now && this.#known) return this.#forgotten();
    this.#known ||= Boolean(now);
    this.animation = now ?? this.animation;
    const { state } = this.animation;
    const running = state === "queued" || state === "running";
    if (running) this.#progress();
    if (this.#laid === (running ? "running" : state)) return;
    this.#laid = running ? "running" : state;
    if (running) this.#running();
    else if (state === "done") this.#done().catch((error) => fill(this.#told, problem(error)));
    else this.#stopped();
  }

  #progress() {
    const { state, stage, position, progress, seconds_left: left } = this.animation;
    const said = state === "queued" && position > 1 ? t("Waiting: number {position} in line", { position }) : sentence(t(stage));
    if (this.#stage.textContent !== said) this.#stage.textContent = said;
    const parts = [state === "running" && `${Math.floor(progress * 100)} %`, left && t("{time} left", { time: duration(left) })];
    this.#numbers.textContent = parts.filter(Boolean).join(" · ");
    this.#bar.value = progress;
  }

  #running() {
    const cancel = h("button", { onclick: () => attempt(cancel, this.#told, () => this.state.api.ask("DELETE", this.#path)) }, t("Cancel"));
    fill(this.#body, h("div", { class: "row between" }, this.#stage, this.#numbers), this.#bar, h("div", { class: "row" }, cancel));
  }

  /** The preview, consent, export: what `<sonic-take>` shows. */
  async #done() {
    const { Take } = await import("./take.js");
    if (!this.gone.aborted) fill(this.#body, made(Take, this.state, { id: this.animation.id }));
  }

  #stopped() {
    const { state, error } = this.animation;
    if (state === "cancelled") return fill(this.#body, banner("note", t("The video was cancelled.")));
    const failed = new Problem(500, error ?? {});
    const elsewhere = this.draft.placeOf(failed);
    if (elsewhere) this.draft.fail(failed);
    fill(this.#body, elsewhere ? banner("problem", t("The video could not be made."), t("What was wrong stands where it can be mended.")) : problem(failed));
  }

  #forgotten() {
    if (this.draft.animation?.id === this.animation.id) this.draft.animation = null;
    this.remove();
  }

  get #path() {
    return `/animations/${this.animation.id}`;
  }
}

customElements.define("sonic-making", Making);

/** @param {string} text */
function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

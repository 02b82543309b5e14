// @ts-check
/** `<sonic-take>`: one video: look at it, consent, export, download, delete. */

import { Problem } from "./api.js";
import { Consent } from "./consent.js";
import { fill, h, icon } from "./dom.js";
import { ICONS, attempt, banner, problem } from "./notes.js";
import { Player, borrowed, save } from "./player.js";
import { View, made } from "./view.js";
import { duration, moment, t } from "./words.js";

/** @typedef {import("./api.js").Animation} Animation */
/** @typedef {import("./dom.js").Child} Child */

const PARTS = ["head", "error", "video", "facts", "warnings", "told", "gate", "more", "foot"];

export class Take extends View {
  static observedAttributes = ["id"];
  /** @type {string | null} The id that is shown. */
  #laid = null;
  /** @type {Record<string, { place: HTMLElement, key: string | null }>} */
  #parts = {};
  /** @type {Animation["export"]} What an export answered, until the server's news tell the same. */
  #exported = null;
  /** Ends the video that is shown. */
  #screening = new AbortController();

  show() {
    this.#laid = null;
    this.state.on("animations", () => this.#follow(), this.gone);
    this.gone.addEventListener("abort", () => this.#screening.abort());
  }

  attributeChangedCallback() {
    if (this.isConnected) this.#follow();
  }

  #follow() {
    if (this.#laid !== this.id) this.#lay();
    const known = this.state.animation(this.id);
    const animation = known && { ...known, export: known.export ?? this.#exported };
    const key = JSON.stringify(animation);
    this.#part("head", key ?? String(this.state.loaded), () => (animation ? heading(animation) : [this.state.loaded && h("p", { class: "empty" }, t("This video is not there any more."))]));
    this.#part("error", JSON.stringify([animation?.error, animation?.export]), () => [animation?.error && refusal(animation)]);
    this.#part("video", animation?.export?.video ?? animation?.preview ?? "", () => this.#screen(animation));
    this.#part("facts", JSON.stringify(animation?.take), () => [animation?.take && table(animation)]);
    this.#part("warnings", JSON.stringify(animation?.warnings), () => (animation?.warnings ?? []).map((each) => banner("warning", each)));
    this.#part("gate", `${animation?.state} ${animation?.export?.sha256}`, () => (animation?.state === "done" ? this.#gate(animation) : []));
    this.#part("more", animation?.infotext ?? "", () => [animation?.infotext && parameters(animation.infotext)]);
    this.#part("foot", animation?.state ?? "", () => (animation?.ended ? [this.#deleting(animation)] : []));
  }

  #lay() {
    this.#laid = this.id;
    this.#exported = null;
    this.#parts = Object.fromEntries(PARTS.map((name) => [name, { place: h("div", { class: `part of-${name}` }), key: null }]));
    this.#parts.told.place.setAttribute("aria-live", "polite");
    fill(this, ...PARTS.map((name) => this.#parts[name].place));
  }

  /**
   * Build a part anew, where that changed which it depends on.
   *
   * @param {string} name
   * @param {string | undefined} key
   * @param {() => Child[]} build
   */
  #part(name, key = "", build) {
    const part = this.#parts[name];
    if (part.key === key) return;
    part.key = key;
    fill(part.place, ...build());
  }

  /** @param {Animation | undefined} animation */
  #screen(animation) {
    this.#screening.abort();
    const address = animation?.export?.video ?? animation?.preview;
    if (!animation?.take || !address) return [];
    this.#screening = new AbortController();
    const place = h("div", { class: "screening", "aria-busy": "true", style: { aspectRatio: `${animation.take.width} / ${animation.take.height}` } });
    this.#load(place, animation, this.#screening.signal);
    return [place];
  }

  /** @param {HTMLElement} place @param {Animation} animation @param {AbortSignal} signal */
  async #load(place, animation, signal) {
    try {
      const url = await this.#source(animation, signal);
      if (signal.aborted) return;
      const name = animation.export?.name ?? `preview-${animation.id.slice(0, 8)}`;
      const stamped = h("p", { class: "quiet small" }, t("A small preview with a stamp. Consent lets the video itself out."));
      const player = made(Player, this.state, { clips: [{ url, name, caption: title(animation) }], fps: animation.take?.fps });
      place.replaceWith(player, animation.export ? "" : stamped, this.#sending(player, signal));
    } catch (error) {
      if (!signal.aborted) place.replaceWith(problem(error));
    }
  }

  /**
   * The frame that is shown, for the WebUI's img2img.
   *
   * @param {Player} player
   * @param {AbortSignal} signal
   */
  #sending(player, signal) {
    const told = h("div", { class: "part", "aria-live": "polite" });
    const sent = async () => {
      const frame = await this.state.api.file(`/animations/${this.id}/frame?at=${player.seconds}`, signal);
      this.state.host?.sendToImg2img(new File([frame], "frame.png", { type: "image/png" }));
    };
    const button = h("button", { type: "button", onclick: () => attempt(button, told, sent) }, t("Send frame to img2img"));
    const place = h("div", { class: "part" }, h("div", { class: "row" }, button), told);
    this.state.on("host", () => (place.hidden = !this.state.host), signal);
    return place;
  }

  /** The exported video; its preview where that is gone. @param {Animation} animation @param {AbortSignal} signal */
  async #source(animation, signal) {
    const [first, second] = [animation.export?.video, animation.preview].filter((each) => each);
    try {
      return await borrowed(this.state.api, String(first), signal);
    } catch (error) {
      if (!second || !(error instanceof Problem) || error.status !== 404) throw error;
      return borrowed(this.state.api, second, signal);
    }
  }

  /** @param {Animation} animation */
  #gate(animation) {
    return animation.export ? this.#out(animation.export) : [this.#form(animation)];
  }

  /** @param {Animation} animation */
  #form(animation) {
    const consent = made(Consent, this.state, { persons: animation.take?.persons ?? 1 });
    const button = h("button", { type: "submit", class: "primary" }, t("Export"));
    const told = h("div", { class: "part", "aria-live": "polite" });
    const submit = (/** @type {Event} */ event) => {
      event.preventDefault();
      attempt(button, told, () => this.#export(consent, told));
    };
    return h(
      "form",
      { class: "stack", noValidate: true, onsubmit: submit },
      h("h3", null, t("Consent and export")),
      animation.portrait_synthetic && h("p", { class: "quiet small" }, t("The portrait was generated here: its face is nobody's.")),
      consent,
      h("div", { class: "row" }, button, h("span", { class: "quiet small" }, t("For this video only. The next one asks again."))),
      told,
    );
  }

  /** @param {Consent} consent @param {HTMLElement} told */
  async #export(consent, told) {
    const stated = await consent.read();
    if (!stated) return;
    fill(told, h("p", { class: "quiet small" }, t("signing")), h("progress", { "aria-label": t("signing") }));
    try {
      this.#exported = await this.state.api.post(`/animations/${this.id}/export`, { consent: stated });
    } catch (error) {
      consent.refused(error);
      throw error;
    }
    fill(told);
    this.#follow();
    fill(this.#parts.told.place, banner("good", t("Exported as {name}.", { name: this.#exported?.name ?? "" })));
    /** @type {HTMLElement | null} */ (this.querySelector(".of-gate button"))?.focus();
  }

  /** @param {NonNullable<Animation["export"]>} exported */
  #out(exported) {
    const told = h("div", { class: "part", "aria-live": "polite" });
    const fetched = async () => save(await this.state.api.file(exported.video, this.gone), exported.name);
    const button = h("button", { type: "button", class: "primary", onclick: () => attempt(button, told, fetched) }, icon(ICONS.download), t("Download"));
    return [
      h(
        "div",
        { class: "stack" },
        h("h3", null, t("Exported video")),
        h("dl", { class: "kept" }, pair(t("Name"), exported.name), pair(t("Record"), h("code", null, exported.record)), pair("SHA-256", h("code", null, exported.sha256))),
        ...exported.warnings.map((each) => banner("warning", each)),
        h("div", { class: "row" }, button),
        told,
      ),
    ];
  }

  /** @param {Animation} animation */
  #deleting(animation) {
    const place = h("div", { class: "part" });
    const told = h("div", { class: "part", "aria-live": "polite" });
    const ask = h("button", { type: "button", class: "plain", onclick: () => (fill(place, question), keep.focus()) }, t("Delete…"));
    const back = () => (fill(place, ask), ask.focus());
    const keep = h("button", { type: "button", onclick: back }, t("Keep it"));
    const gone = async () => void (await this.state.api.ask("DELETE", `/animations/${animation.id}`));
    const sure = h("button", { type: "button", class: "danger", onclick: () => attempt(sure, told, gone) }, t("Yes, delete"));
    const [said, hint] = animation.take
      ? [t("Delete this video?"), t("It goes from the private folder for good; exported files and records stay.")]
      : [t("Delete this entry?"), ""];
    const question = h("div", { class: "asking" }, banner("warning", said, hint), h("div", { class: "row" }, sure, keep), told);
    fill(place, ask);
    return place;
  }
}

/** What an animation is called. @param {Animation} animation */
export function title(animation) {
  return moment(animation.created);
}

/** What became of it. @param {Animation} animation */
export function badge(animation) {
  const [kind, said] = {
    queued: ["", t("waiting")],
    running: ["", t("being made")],
    done: animation.export ? ["good", t("exported")] : ["warn", t("waits for consent")],
    failed: ["bad", t("failed")],
    cancelled: ["", t("cancelled")],
  }[animation.state];
  return h("span", { class: `badge ${kind}` }, said);
}

/**
 * What was made, as names and values.
 *
 * @param {Animation} animation
 * @returns {[string, string][]}
 */
export function facts({ take }) {
  if (!take) return [];
  return [
    [t("Engine"), take.engine],
    [t("Seed"), String(take.seed)],
    [t("Size"), `${take.width} × ${take.height}`],
    [t("Length"), duration(take.seconds)],
    [t("Frames"), t("{count} at {fps} fps", { count: take.frames, fps: take.fps })],
    [t("Lip sync"), lateness(take.sync_offset)],
  ];
}

/** @param {number | null} offset seconds that the mouth came after the sound */
function lateness(offset) {
  if (offset === null) return t("not measured");
  const count = Math.round(offset * 1000);
  if (!count) return t("0 ms off");
  return count > 0 ? t("mouth {count} ms late", { count }) : t("mouth {count} ms early", { count: -count });
}

/** @param {Animation} animation @returns {Child[]} */
function heading(animation) {
  const running = animation.state === "running" || animation.state === "queued";
  return [
    h("div", { class: "row" }, h("h2", null, title(animation)), badge(animation)),
    running && h("p", { class: "quiet small" }, t(animation.stage)),
  ];
}

/** @param {Animation} animation */
function refusal({ error, state, export: out }) {
  if (out) return null;
  const kind = state === "failed" ? "problem" : state === "cancelled" ? "note" : "warning";
  return banner(kind, error?.detail ?? "", error?.hint);
}

/** @param {Animation} animation */
function table(animation) {
  return h("dl", { class: "facts" }, ...facts(animation).map(([name, value]) => pair(name, value)));
}

/** @param {string} name @param {Child} value */
function pair(name, value) {
  return h("div", null, h("dt", null, name), h("dd", null, value));
}

/** @param {string} infotext */
function parameters(infotext) {
  return h("details", null, h("summary", null, t("Parameters of the portrait")), h("p", { class: "infotext small" }, infotext));
}

customElements.define("sonic-take", Take);

// @ts-check
/** The consent ledger: look, search, take back. */

import { Problem } from "./api.js";
import { fill, h, icon } from "./dom.js";
import { attempt, banner, ICONS, problem } from "./notes.js";
import { code, pairs } from "./verify.js";
import { View } from "./view.js";
import { moment, t } from "./words.js";

/** @typedef {Record<string, any>} Consent SonicRecord */

/** Milliseconds in which several changes are one. */
const SOON = 400;
/** State of a record → class of its badge. @type {Record<string, string>} */
const BADGES = { exported: "good", revoked: "bad", "not exported": "" };

export class Consents extends View {
  /** Id of a record → it as JSON, and its row. @type {Map<string, { json: string, record: Consent, row: HTMLElement }>} */
  #rows = new Map();
  /** Id of a take → address of its picture in this page. @type {Map<string, string>} */
  #posters = new Map();
  #exports = "";
  #timer = 0;
  #told = h("div", { class: "told", "aria-live": "polite" });
  #trouble = h("div", { class: "told" });
  #list = h("div", { class: "records" });
  #count = h("span", { class: "quiet small number", role: "status" });
  #search = h("input", { type: "search" });
  #state = h("select");
  #watcher = new IntersectionObserver((seen) => seen.forEach((each) => each.isIntersecting && this.#picture(/** @type {HTMLElement} */ (each.target))));

  show() {
    fill(this, h("div", { class: "stack" }, this.#tools(), this.#trouble, this.#told, this.#list));
    this.#rows.clear();
    this.state.on("animations", () => this.#changed(), this.gone);
    for (const what of ["view", "reachable"]) this.state.addEventListener(what, () => this.#again(), { signal: this.gone });
    this.gone.addEventListener("abort", () => this.#end());
    this.#refresh();
  }

  /** Ask anew, if somebody looks. */
  #again() {
    if (this.state.view === "consents" && this.state.reachable) this.#refresh();
  }

  #end() {
    clearTimeout(this.#timer);
    this.#watcher.disconnect();
    for (const address of this.#posters.values()) URL.revokeObjectURL(address);
    this.#posters.clear();
  }

  #tools() {
    const states = ["", "exported", "not exported", "revoked"];
    fill(this.#state, ...states.map((value) => h("option", { value }, value ? t(value) : t("every state"))));
    this.#search.placeholder = t("Search names, purposes, files, ids");
    this.#search.oninput = this.#state.onchange = () => this.#filter();
    return h(
      "div",
      { class: "row" },
      h("label", { class: "field sought" }, h("span", { class: "unseen" }, t("Search")), this.#search),
      h("label", { class: "field" }, h("span", { class: "unseen" }, t("State")), this.#state),
      this.#count,
    );
  }

  /** An export writes a record. */
  #changed() {
    const exports = this.state.animations.map((each) => each.export?.record ?? "").join();
    if (exports === this.#exports) return;
    this.#exports = exports;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#again(), SOON);
  }

  async #refresh() {
    try {
      const { records } = await this.state.api.get("/consents", this.gone);
      fill(this.#trouble);
      this.#lay(records);
    } catch (error) {
      if (!this.gone.aborted && !unreached(error)) fill(this.#trouble, problem(error));
    }
  }

  /** Rows of records that stand as they did stay, with what is open and written there. @param {Consent[]} records */
  #lay(records) {
    const former = this.#rows;
    this.#rows = new Map(records.map((record) => [record.id, this.#kept(former.get(record.id), record)]));
    const none = h(
      "div",
      { class: "sheet empty" },
      h("strong", null, t("No consent has been recorded yet.")),
      h("span", null, t("The first export writes the first record.")),
    );
    const wanted = records.length ? [...this.#rows.values()].map(({ row }) => row) : [none];
    const same = wanted.length === this.#list.children.length && wanted.every((row, index) => row === this.#list.children[index]);
    if (!same) fill(this.#list, ...wanted);
    for (const row of wanted) this.#watcher.observe(row);
    this.#filter();
  }

  /**
   * @param {{ json: string, record: Consent, row: HTMLElement } | undefined} former
   * @param {Consent} record
   */
  #kept(former, record) {
    const json = JSON.stringify(record);
    return former?.json === json ? former : { json, record, row: this.#row(record, former?.row.hasAttribute("open") ?? false) };
  }

  #filter() {
    const words = this.#search.value.toLowerCase().split(/\s+/);
    const state = this.#state.value;
    let count = 0;
    for (const { json, record, row } of this.#rows.values()) {
      const text = json.toLowerCase();
      row.hidden = !(words.every((word) => text.includes(word)) && (!state || record.state === state));
      count += row.hidden ? 0 : 1;
    }
    const total = this.#rows.size;
    fill(this.#count, total > 0 && t("{count} of {total} records", { count, total }));
  }

  /** @param {Consent} record @param {boolean} open */
  #row(record, open) {
    const full = h("div", { class: "full" });
    const row = h(
      "details",
      { class: "record", open, data: { take: record.revoked_at ? "" : record.take }, ontoggle: () => row.open && !full.hasChildNodes() && this.#open(full, record) },
      h(
        "summary",
        null,
        h("span", { class: "thumb" }, icon(ICONS.play)),
        h("span", { class: "name" }, h("strong", null, record.output_name || t("not exported")), h("span", { class: "quiet small" }, moment(record.time))),
        h("span", { class: "basis small" }, t("Face: {basis}", { basis: t(record.face) }), h("br"), t("Voice: {basis}", { basis: t(record.voice) }), record.face_2 && [h("br"), t("And a second person")]),
        h("span", { class: "until small quiet" }, record.expires ? t("until {date}", { date: record.expires }) : t("no end")),
        h("span", { class: `badge ${BADGES[record.state] ?? ""}` }, t(record.state)),
      ),
      full,
    );
    return row;
  }

  /** @param {HTMLElement} full @param {Consent} record */
  #open(full, record) {
    const asked = h("div", { class: "stack told" });
    const revoke = h("button", { class: "danger", onclick: () => this.#confirm(record, asked, revoke) }, t("Revoke…"));
    fill(full, fields(record), hashes(record), !record.revoked_at && h("div", { class: "row" }, revoke), asked);
  }

  /**
   * Ask before a consent is taken back, in the place of the button.
   *
   * @param {Consent} record
   * @param {HTMLElement} asked
   * @param {HTMLElement} button
   */
  #confirm(record, asked, button) {
    const reason = h("input", { type: "text", maxLength: 2000 });
    const told = h("div", { class: "told" });
    const sure = h("button", { class: "danger", onclick: () => attempt(sure, told, () => this.#revoke(record, reason.value)) }, t("Yes, revoke"));
    const keep = h("button", {
      onclick: () => {
        fill(asked);
        button.hidden = false;
        button.focus();
      },
    }, t("Keep it"));
    button.hidden = true;
    fill(this.#told);
    fill(
      asked,
      banner(
        "warning",
        t("Revoke this consent?"),
        t("The portrait can then not be exported again, under any record, and its videos are deleted from the private folder. Exported files stay. This cannot be undone."),
      ),
      h("label", { class: "field" }, h("span", null, t("Reason, kept in the ledger")), reason),
      h("div", { class: "row" }, sure, keep),
      told,
    );
    reason.focus();
  }

  /** @param {Consent} record @param {string} reason */
  async #revoke(record, reason) {
    const done = await this.state.api.post(`/consents/${record.id}/revoke`, { reason }, this.gone);
    const values = { records: done.records.join(", "), count: done.takes.length };
    fill(this.#told, banner("good", t("Revoked."), t("Records of this portrait: {records}. Videos deleted from the private folder: {count}.", values)));
    await this.#refresh();
    this.#rows.get(record.id)?.row.querySelector("summary")?.focus();
  }

  /** The picture of a record's video, where there still is one. @param {HTMLElement} row */
  async #picture(row) {
    this.#watcher.unobserve(row);
    const take = row.dataset.take;
    const address = take && (this.#posters.get(take) ?? (await this.#poster(take)));
    const place = row.querySelector(".thumb");
    if (address && place && !place.querySelector("img")) fill(place, h("img", { src: address, alt: "" }));
  }

  /** @param {string} take */
  async #poster(take) {
    const poster = this.state.animations.find((each) => each.take?.id === take)?.poster;
    if (!poster) return "";
    const file = await this.state.api.file(poster, this.gone).catch(() => null);
    if (this.gone.aborted) return "";
    const address = file ? URL.createObjectURL(file) : "";
    this.#posters.set(take, address);
    return address;
  }
}

/** The page says that by itself. @param {unknown} error */
export function unreached(error) {
  return error instanceof Problem && error.status === 0;
}

/** @param {string | null} time */
function when(time) {
  return time && moment(time);
}

/** @param {Consent} record */
function fields(record) {
  return pairs([
    [t("Consent record"), code(record.id)],
    [t("State"), t(record.state)],
    [t("Consented"), when(record.time)],
    [t("Exported"), when(record.exported_at)],
    [t("Revoked"), when(record.revoked_at)],
    [t("Face"), t(record.face)],
    [t("Voice"), t(record.voice)],
    [t("Second face"), record.face_2 && t(record.face_2)],
    [t("Second voice"), record.voice_2 && t(record.voice_2)],
    [t("Purpose"), record.purpose || t("not stated")],
    [t("Until"), record.expires ?? t("no end")],
    [t("Persons"), record.subject],
    [t("Contact"), record.contact],
    [t("Operator"), record.operator],
    [t("File"), record.output_name],
    [t("Take id"), code(record.take)],
    [t("Engine"), record.engine],
    [t("Visible label"), t(record.label)],
    [t("Why there is no label"), record.label_reason],
    [t("Portrait generated here"), record.portrait_synthetic ? t("yes") : t("no")],
    [t("Looks like revoked"), record.alike.join(", ")],
    [t("Why it is another portrait"), record.unlike_reason],
    [t("Version of the notice"), record.notice_version],
  ]);
}

/** @param {Consent} record */
function hashes(record) {
  const rows = pairs([
    [t("Portrait"), code(record.portrait_sha256)],
    [t("Speech"), code(record.audio_sha256)],
    [t("Second speech"), record.audio_2_sha256 && code(record.audio_2_sha256)],
    [t("Video, before its export"), code(record.video_sha256)],
    [t("Exported file"), code(record.output_sha256)],
    [t("Evidence"), code(record.evidence_sha256)],
    [t("Salt of the hashes in the video"), code(record.nonce)],
  ]);
  return h("details", null, h("summary", null, t("Hashes (SHA-256)")), rows);
}

customElements.define("sonic-consents", Consents);

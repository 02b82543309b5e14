// @ts-check
/** Where a video or a picture comes from, and how well its lips are in sync. */

import { base64 } from "./api.js";
import { fill, h, icon } from "./dom.js";
import { droppable, pasted, zone } from "./files.js";
import { banner, ICONS, problem } from "./notes.js";
import { View } from "./view.js";
import { bytes, duration, moment, t } from "./words.js";

/** @typedef {import("./dom.js").Child} Child */
/** @typedef {"note" | "warning" | "problem" | "good"} Kind */

/** Bytes of a file that a request can carry. */
const LARGEST = 300e6;
/** Verdict → kind of its banner; `warning` for the rest. @type {Record<string, Kind>} */
const VERDICTS = { intact: "good", altered: "problem", contradiction: "problem", preview: "note", unmarked: "note" };
/** @type {Record<string, Kind>} */
const SYNC_VERDICTS = { "in sync": "good", "out of sync": "warning" };
/** State of a signature → class of its badge. @type {Record<string, string>} */
const SIGNATURES = { valid: "good", untimely: "warn", altered: "bad", damaged: "bad" };

export class Verify extends View {
  /** @type {File | null} */
  #file = null;
  /** Address of the file in this page. */
  #address = "";
  #reading = new AbortController();
  #measuring = new AbortController();
  #look = h("div", { class: "stack" });
  #marks = h("div", { class: "stack told" });
  #sync = h("div", { class: "stack told" });
  /** What was found in a sentence, for those who hear the page. */
  #heard = h("p", { class: "unseen", role: "status" });

  show() {
    const take = (/** @type {File} */ file) => this.#take(file);
    const place = zone("video/*,image/*", t("Choose a video or a picture"), t("Click, drop a file here, or paste one."), take);
    droppable(this, take);
    pasted(this, /^/, take, this.gone);
    const asked = h(
      "div",
      { class: "sheet empty" },
      icon(ICONS.search),
      h("strong", null, t("Add a video or a picture of one.")),
      h("span", null, t("Marks, signature and consent record are read on this computer.")),
    );
    fill(this, h("div", { class: "verify" }, h("div", { class: "sheet" }, place, this.#look), h("div", { class: "stack" }, this.#marks, this.#sync)), this.#heard);
    fill(this.#look);
    fill(this.#sync);
    fill(this.#marks, asked);
    this.gone.addEventListener("abort", () => this.#drop());
  }

  /** @param {File} file */
  #take(file) {
    this.#drop();
    this.#file = file;
    this.#address = URL.createObjectURL(file);
    fill(this.#sync);
    fill(this.#look, shownFile(file, this.#address), !isPicture(file) && h("button", { onclick: () => this.#measure() }, t("Also measure the lip sync")));
    this.#read();
  }

  /** Let go of the file, and stop what is done with it. */
  #drop() {
    this.#reading.abort();
    this.#measuring.abort();
    URL.revokeObjectURL(this.#address);
    this.#file = null;
  }

  #read() {
    this.#reading = new AbortController();
    return this.#ask("/verify", this.#marks, this.#reading, t("Reading the marks…"), verdict);
  }

  #measure() {
    this.#measuring.abort();
    this.#measuring = new AbortController();
    return this.#ask("/sync", this.#sync, this.#measuring, t("Measuring the lip sync…"), measured);
  }

  /**
   * Send the file, and show what comes back.
   *
   * @param {string} path
   * @param {Element} told
   * @param {AbortController} asking
   * @param {string} said
   * @param {(found: any) => Child[]} drawn
   */
  async #ask(path, told, asking, said, drawn) {
    const file = this.#file;
    if (!file) return;
    if (file.size > LARGEST) return fill(told, banner("problem", t("The file is too large."), t("At most {size} are taken.", { size: bytes(LARGEST) })));
    const stop = () => {
      asking.abort();
      fill(told, banner("note", t("Stopped as asked.")));
      fill(this.#heard, t("Stopped as asked."));
    };
    fill(told, waiting(said, stop));
    fill(this.#heard, said);
    try {
      const video = await base64(file);
      const found = await this.state.api.post(path, { video }, asking.signal);
      if (asking.signal.aborted) return;
      fill(told, ...drawn(found));
      fill(this.#heard, [found.summary, found.hint].map((text) => t(text)).join(" "));
    } catch (error) {
      if (!asking.signal.aborted) fill(told, problem(error));
    }
  }
}

/**
 * Names and values under each other; what is empty is left out.
 *
 * @param {[string, Child][]} rows
 */
export function pairs(rows) {
  const told = rows.filter(([, value]) => value !== "" && value !== null && value !== undefined && value !== false);
  return h("dl", { class: "pairs" }, ...told.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))));
}

/** @param {string} text */
export function code(text) {
  return text && h("code", null, text);
}

/** @param {string} said @param {() => void} stop */
function waiting(said, stop) {
  const text = h("div", { class: "row between" }, h("span", null, said), h("button", { onclick: stop }, t("Cancel")));
  return h("div", { class: "sheet" }, text, h("progress", { "aria-label": said }));
}

/** @param {File} file */
function isPicture(file) {
  return file.type.startsWith("image/");
}

/** @param {File} file @param {string} src */
function shownFile(file, src) {
  const picture = isPicture(file) ? h("img", { src, alt: file.name }) : h("video", { src, controls: true, playsInline: true, "aria-label": file.name });
  return h("figure", { class: "looked" }, picture, h("figcaption", { class: "small quiet" }, `${file.name} · ${bytes(file.size)}`));
}

/** @param {any} found SonicVerification */
function verdict(found) {
  return [
    banner(VERDICTS[found.verdict] ?? "warning", t(found.summary), t(found.hint)),
    ...found.contradictions.map((/** @type {string} */ said) => banner("problem", t(said))),
    ...found.notes.map((/** @type {string} */ said) => banner("note", t(said))),
    h("div", { class: "marks" }, signature(found.signature), watermark(found.watermark), labels(found.labels), ledger(found.record)),
    h("div", { class: "sheet" }, pairs([[t("Verdict"), t(found.verdict)], [t("Id"), code(found.id)], ["SHA-256", code(found.sha256)]])),
  ];
}

/**
 * @param {string} title
 * @param {string} state
 * @param {string} kind class of the badge
 * @param {...Child} rest
 */
function mark(title, state, kind, ...rest) {
  return h("article", { class: "sheet" }, h("div", { class: "head" }, h("h3", null, title), h("span", { class: `badge ${kind}` }, state)), ...rest);
}

/** @param {any} found */
function signature(found) {
  const trusted = found.state === "valid" || (found.state === "untimely" && found.trust !== "unknown");
  const period = found.ends && `${moment(found.begins)} – ${moment(found.ends)}`;
  return mark(
    t("Signature"),
    t(found.state),
    SIGNATURES[found.state] ?? "",
    found.state === "absent" && h("p", { class: "quiet" }, t("The file carries no C2PA signature.")),
    pairs([
      [t("Trust"), trusted && t(found.trust_text)],
      [t("Signer"), found.signer],
      [t("Certificate"), period],
      [t("Time stamp"), stamp(found.time_stamp)],
      [t("Problems"), found.problems.join(", ")],
      [t("Engine"), found.take.engine],
      [t("Names the watermark"), code(found.watermark)],
      [t("Made of"), found.ingredients.join(", ")],
    ]),
  );
}

/** @param {{ time: string, authority: string, trusted: boolean } | null} found */
function stamp(found) {
  if (!found) return "";
  const values = { time: moment(found.time), authority: found.authority || t("an unnamed authority") };
  return found.trusted ? t("{time} by {authority}, trusted here", values) : t("{time} by {authority}, not trusted here", values);
}

/** @param {any} found */
function watermark(found) {
  const frames = found.frames === 1 ? t("1 frame") : t("{count} frames", { count: found.frames });
  return mark(
    t("Watermark"),
    found.id ? t("found") : t("none found"),
    found.id ? "good" : "",
    pairs([
      [t("Id"), code(found.id)],
      [t("Odds of a false alarm"), found.id && t("below {odds}", { odds: found.odds.toExponential(0) })],
      [t("Looked at"), frames],
      [t("Kind"), code(found.algorithm)],
      [t("Note"), t(found.note)],
    ]),
  );
}

/** @param {any} found */
function labels(found) {
  const any = found.aigc || found.source_type || found.comment;
  const fields = Object.entries(found.aigc?.fields ?? {}).filter(([, value]) => value);
  const none = found.sought ? t("The file carries no label.") : t("No label is looked for in pictures.");
  return mark(
    t("Labels"),
    any ? t("found") : t("none"),
    any ? "good" : "",
    !any && h("p", { class: "quiet" }, none),
    pairs([
      [t("AIGC label"), fields.length > 0 && h("div", null, ...fields.map(([name, value]) => h("div", null, `${name} = ${value}`)))],
      [t("Not as prescribed"), found.aigc?.problems.map((/** @type {string} */ said) => t(said)).join(" ")],
      [t("XMP source"), found.source_type],
      [t("Comment"), found.comment],
    ]),
  );
}

/** @param {any} found */
function ledger(found) {
  const known = found.found.length > 0;
  const state = found.problem ? t("not readable") : known ? t("known here") : t("not known here");
  const kind = found.problem || found.revoked ? "bad" : known ? "good" : "";
  const same = found.same_file ? t("This very file was exported here.") : t("This file differs from the exported one.");
  return mark(
    t("This computer's record"),
    found.revoked ? t("revoked") : state,
    kind,
    h("p", { class: known ? "" : "quiet" }, t(found.problem) || (known ? same : t("The consent ledger of this computer does not know it."))),
    ...found.found.map(record),
  );
}

/** @param {any} each */
function record(each) {
  return pairs([
    [t("Consent record"), code(each.id)],
    [t("State"), t(each.state)],
    [t("Engine"), each.engine],
    [t("Consented"), moment(each.time)],
    [t("Exported"), each.exported_at && moment(each.exported_at)],
    [t("Revoked"), each.revoked_at && moment(each.revoked_at)],
  ]);
}

/** @param {any} found SonicSync */
function measured(found) {
  return [
    banner(SYNC_VERDICTS[found.verdict] ?? "note", t(found.summary), [found.reason, found.hint].filter(Boolean).map((said) => t(said)).join(" ")),
    ...found.warnings.filter((/** @type {string} */ said) => said !== found.reason).map((/** @type {string} */ said) => banner("warning", t(said))),
    h(
      "div",
      { class: "sheet" },
      h("h3", null, t("Lip sync")),
      pairs([
        [t("Offset"), offset(found.offset)],
        [t("Confidence"), found.confidence.toFixed(2)],
        [t("Length"), `${duration(found.seconds)} · ${t("{count} frames", { count: found.frames })} · ${t("{count} fps", { count: found.fps })}`],
      ]),
      found.tracks.length > 0 && faces(found.tracks),
      found.chart && h("img", { class: "chart", src: found.chart, alt: t("Sound, mouth and score over offset and time. {summary}", { summary: t(found.summary) }) }),
    ),
  ];
}

/** Of the mouth against the voice. @param {number | null} seconds */
function offset(seconds) {
  if (seconds === null) return t("not measured");
  const count = Math.abs(Math.round(seconds * 1000));
  return seconds < 0 ? t("{count} ms before the voice", { count }) : t("{count} ms after the voice", { count });
}

/** @param {any[]} tracks */
function faces(tracks) {
  const noted = tracks.some((each) => each.note);
  const heads = [t("Face"), t("From"), t("To"), t("Offset"), t("Confidence"), ...(noted ? [t("Note")] : [])];
  const rows = tracks.map((each, index) =>
    h(
      "tr",
      { class: "number" },
      h("th", { scope: "row" }, String(index + 1)),
      ...[duration(each.start), duration(each.end), offset(each.offset), each.confidence.toFixed(2), ...(noted ? [t(each.note)] : [])].map((value) => h("td", null, value)),
    ),
  );
  const head = h("thead", null, h("tr", null, ...heads.map((name) => h("th", { scope: "col" }, name))));
  return h("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": t("Faces") }, h("table", null, head, h("tbody", null, ...rows)));
}

customElements.define("sonic-verify", Verify);

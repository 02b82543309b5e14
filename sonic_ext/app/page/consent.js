// @ts-check
/** `<sonic-consent>`: what is stated before a video is let out, for that video only. Nothing of it is ever kept. */

import { base64, Problem } from "./api.js";
import { fill, h } from "./dom.js";
import { View } from "./view.js";
import { t } from "./words.js";

/** @type {Record<string, string>} Basis → what the user chooses. */
const MEANINGS = {
  self: "My own",
  authorised: "The person agreed",
  synthetic: "Synthetic: nobody's",
  estate: "The estate agreed",
};
/** Every form's fields have ids of their own. */
let forms = 0;

/** @typedef {HTMLInputElement | HTMLSelectElement} Control */
/** @typedef {{ control: Control, wrong: HTMLElement, whole: HTMLElement }} Field */

export class Consent extends View {
  /** How many are shown speaking: of each it is stated. */
  persons = 1;
  /** @type {Record<string, Field>} */
  #fields = {};
  #number = (forms += 1);

  show() {
    this.reset();
  }

  /** Begin an empty form. */
  reset() {
    const { text, bases } = this.state.schema.consent;
    const basis = () => select(bases);
    const two = this.persons > 1;
    fill(
      this,
      h("p", { class: "notice small" }, t(text)),
      h("div", { class: "pair" }, this.#field("face", t("The face is"), basis()), this.#field("voice", t("The voice is"), basis())),
      two && h("p", { class: "quiet small" }, t("Two persons are shown: of the second, who speaks with the second voice, the same is stated.")),
      two && h("div", { class: "pair" }, this.#field("face_2", t("The second face is"), basis()), this.#field("voice_2", t("The second voice is"), basis())),
      this.#field("unlike_reason", t("Why this is not the revoked portrait"), written()),
      h(
        "details",
        null,
        h("summary", null, t("Kept with the record")),
        h(
          "div",
          { class: "pair" },
          this.#field("purpose", t("Purpose"), written()),
          this.#field("expires", t("Last day"), h("input", { type: "date" })),
          this.#field("contact", t("Contact to take it back"), written()),
          this.#field("operator", t("Who exports"), written()),
          this.#field("subject", t("Names of the persons"), written()),
          this.#field("evidence", t("Evidence: only its hash is kept"), h("input", { type: "file" })),
        ),
      ),
      this.#ticked("stated", t("I state that this is true.")),
    );
    this.#fields.unlike_reason.whole.hidden = true;
  }

  /**
   * What is stated, as requests take it.
   *
   * @returns {Promise<Record<string, string> | null>} null where something is missing, which is said there
   */
  async read() {
    const { face, voice, face_2: face2, voice_2: voice2, stated, unlike_reason: unlike, evidence } = this.#fields;
    const ticked = /** @type {HTMLInputElement} */ (stated.control).checked;
    const missing = [
      !face.control.value && told(face, t("Say why this face may be shown.")),
      !voice.control.value && told(voice, t("Say why this voice may be used.")),
      face2 && !face2.control.value && told(face2, t("Say why this face may be shown.")),
      voice2 && !voice2.control.value && told(voice2, t("Say why this voice may be used.")),
      !unlike.whole.hidden && !unlike.control.value.trim() && told(unlike, t("Say why it is another portrait.")),
      !ticked && told(stated, t("Read the notice and tick this box.")),
    ].filter((each) => Boolean(each));
    if (missing.length) return /** @type {Field} */ (missing[0]).control.focus(), null;
    const texts = ["face", "voice", ...(face2 ? ["face_2", "voice_2"] : []), "purpose", "expires", "contact", "operator", "subject", "unlike_reason"];
    const said = Object.fromEntries(texts.map((name) => [name, this.#fields[name].control.value.trim()]));
    const file = /** @type {HTMLInputElement} */ (evidence.control).files?.[0];
    return file ? { ...said, evidence: await base64(file) } : said;
  }

  /** Ask for what the gate wants besides. @param {unknown} error */
  refused(error) {
    if (!(error instanceof Problem) || error.kind !== "LooksRevoked") return;
    const { unlike_reason: unlike } = this.#fields;
    unlike.whole.hidden = false;
    told(unlike, t("Say why it is another portrait."));
    unlike.control.focus();
  }

  /** @param {string} name @param {string} label @param {Control} control */
  #field(name, label, control) {
    return this.#kept(name, control, h("label", { class: "field" }, h("span", null, label), control));
  }

  /** @param {string} name @param {string} label */
  #ticked(name, label) {
    const control = h("input", { type: "checkbox" });
    return this.#kept(name, control, h("label", { class: "tick" }, control, h("span", null, label)));
  }

  /** @param {string} name @param {Control} control @param {HTMLElement} labelled */
  #kept(name, control, labelled) {
    const wrong = h("small", { class: "wrong", id: `consent-${this.#number}-${name}`, "aria-live": "polite" });
    const whole = h("div", { class: "asked" }, labelled, wrong);
    const field = (this.#fields[name] = { control, wrong, whole });
    control.name = name;
    control.setAttribute("aria-describedby", wrong.id);
    control.addEventListener("input", () => told(field, ""));
    return whole;
  }
}

/**
 * Say at a field what is wrong with it, or nothing.
 *
 * @param {Field} field
 * @param {string} said
 */
function told(field, said) {
  field.wrong.textContent = said;
  if (said) field.control.setAttribute("aria-invalid", "true");
  else field.control.removeAttribute("aria-invalid");
  return field;
}

/** @param {string[]} bases */
function select(bases) {
  const choices = bases.map((basis) => h("option", { value: basis }, t(MEANINGS[basis] ?? basis)));
  return h("select", { "aria-required": "true" }, h("option", { value: "" }, t("Choose…")), ...choices);
}

function written() {
  return h("input", { type: "text", autocomplete: "off" });
}

customElements.define("sonic-consent", Consent);

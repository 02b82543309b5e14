// @ts-check
/** `<sonic-settings>`: presets, and every setting in its section, made from their JSON schema. */

import { Problem } from "./api.js";
import { PLACED } from "./draft.js";
import { fill, h } from "./dom.js";
import { problem } from "./notes.js";
import { View } from "./view.js";
import { t } from "./words.js";

/** @typedef {import("./draft.js").Draft} Draft */
/**
 * @typedef {object} Control A setting's control.
 * @property {HTMLElement} element
 * @property {(value: any) => void} look shows a value
 * @property {HTMLElement} marked what is marked where the value cannot be used
 */

/** Choices up to this many stand side by side; more go into a list. */
const CHIPS = 4;
/** A slider with more positions than this cannot be aimed. */
const POSITIONS = 2000;

export class SettingsForm extends View {
  /** @type {Draft} */
  draft = /** @type {any} */ (undefined);
  /** @type {Map<string, Control & { say: (wrong: string) => void }>} */
  #controls = new Map();
  #told = h("div", { class: "told" });

  show() {
    this.className = "sheet";
    const sections = Object.entries(this.state.schema.groups).map(([group, title]) => this.#section(group, title));
    fill(this, this.#heading(), this.#presets(), this.#told, h("div", { class: "sections" }, ...sections));
    this.draft.on(["problem"], () => this.#tell(), this.gone);
  }

  #heading() {
    const reset = h("button", { class: "plain small", onclick: () => this.#reset() }, t("Back to defaults"));
    this.draft.on(["settings"], () => (reset.hidden = !Object.keys(this.draft.settings()).length && !this.draft.invalid.size), this.gone);
    return h("div", { class: "row between" }, h("h2", null, t("Settings")), reset);
  }

  #reset() {
    this.draft.reset();
    for (const [name, { look, say }] of this.#controls) {
      look(this.draft.values[name]);
      say("");
    }
  }

  #presets() {
    const { presets, properties } = this.draft;
    const radios = Object.keys(presets).map((name) => h("input", { type: "radio", name: "preset", value: name, onchange: () => this.draft.apply(name) }));
    const chips = radios.map((radio) => h("label", { class: "choice" }, radio, t(radio.value)));
    const sets = h("small", { class: "quiet small" });
    this.draft.on(["settings"], () => {
      const { preset } = this.draft;
      for (const radio of radios) radio.checked = radio.value === preset;
      const said = Object.entries(presets[preset] ?? {}).map(([name, value]) => `${t(properties[name].title)}: ${written(value) || t("empty")}`);
      sets.textContent = said.join(" · ") || (preset ? t("Every setting at its default.") : t("Changed by hand."));
    }, this.gone);
    return h("fieldset", null, h("legend", null, t("Preset")), h("div", { class: "choices" }, ...chips), sets);
  }

  /** @param {string} group @param {string} title */
  #section(group, title) {
    const names = Object.keys(this.draft.properties).filter((name) => this.draft.properties[name]["x-group"] === group);
    const changed = h("span", { class: "badge" });
    const controls = names.map((name) => this.#control(name));
    this.draft.on(["settings"], () => {
      const count = names.filter((name) => this.draft.differs(name)).length;
      changed.hidden = !count;
      changed.textContent = t("{count} changed", { count });
    }, this.gone);
    return names.length > 0 && h("details", { class: "section" }, h("summary", null, t(title), " ", changed), h("div", { class: "fields" }, ...controls));
  }

  /** @param {string} name */
  #control(name) {
    const property = this.draft.properties[name];
    const wrong = h("small", { class: "wrong", id: `wrong-${name}`, role: "alert" });
    /** @param {any} value */
    const give = (value) => {
      if (value instanceof Wrong) {
        say(value.message);
        this.draft.refuse(name);
      } else {
        say("");
        this.draft.set({ [name]: value });
      }
    };
    const control = controlOf(name, property, give);
    /** @param {string} told */
    const say = (told) => {
      wrong.textContent = told;
      if (told) control.marked.setAttribute("aria-invalid", "true");
      else control.marked.removeAttribute("aria-invalid");
    };
    this.#controls.set(name, { ...control, say });
    control.element.append(h("small", { id: `help-${name}` }, t(property.description)), wrong);
    let shown = "";
    this.draft.on(["settings"], () => {
      const now = JSON.stringify(this.draft.values[name]);
      if (now === shown || this.draft.invalid.has(name)) return;
      shown = now;
      say("");
      if (!control.element.contains(focused(this)) || PLACED.includes(name)) control.look(this.draft.values[name]);
    }, this.gone);
    control.element.addEventListener("focusout", () => this.draft.invalid.has(name) || control.look(this.draft.values[name]));
    return control.element;
  }

  /** What the server says of a setting stands at that setting. */
  #tell() {
    const told = this.draft.problem;
    const error = told?.place === "settings" ? told.error : null;
    fill(this.#told, error !== null && problem(error));
    for (const [name, { say }] of this.#controls) if (!this.draft.invalid.has(name)) say("");
    if (!(error instanceof Problem)) return;
    for (const name of this.draft.named(error)) {
      const control = this.#controls.get(name);
      control?.say(error.message);
      control?.element.closest("details")?.setAttribute("open", "");
    }
  }
}

customElements.define("sonic-settings", SettingsForm);

/** A value that cannot be used, and why. */
class Wrong {
  /** @param {string} message */
  constructor(message) {
    this.message = message;
  }
}

/**
 * @param {string} name
 * @param {any} property
 * @param {(value: any) => void} give takes a value, or what is wrong with it
 * @returns {Control}
 */
function controlOf(name, property, give) {
  const schema = property.anyOf?.[0] ?? property;
  if (schema.type === "boolean") return checkbox(name, property, give);
  if (schema.enum) return schema.enum.length > CHIPS ? list(name, property, give) : chips(name, property, give);
  if (schema.type === "number" || schema.type === "integer") return number(name, property, schema, give);
  const read = schema.type === "array" ? (/** @type {string} */ text) => numbers(text, schema.minItems) : (/** @type {string} */ text) => text;
  const input = h("input", { type: "text", ...described(name), oninput: () => give(read(input.value)) });
  return { element: labelled(property, input), look: (value) => (input.value = written(value)), marked: input };
}

/** @param {string} name @param {any} property @param {(value: any) => void} give @returns {Control} */
function checkbox(name, property, give) {
  const input = h("input", { type: "checkbox", ...described(name), onchange: () => give(input.checked) });
  const label = h("label", { class: "tick" }, input, h("span", null, t(property.title)));
  return { element: h("div", { class: "field" }, label), look: (value) => (input.checked = value), marked: input };
}

/** @param {string} name @param {any} property @param {(value: any) => void} give @returns {Control} */
function chips(name, property, give) {
  const radios = property.enum.map((/** @type {any} */ value) => h("input", { type: "radio", name, onchange: () => give(value) }));
  const choices = radios.map((/** @type {Node} */ radio, /** @type {number} */ each) => h("label", { class: "choice" }, radio, String(property.enum[each])));
  const element = h("fieldset", { class: "field", ...described(name) }, h("legend", null, t(property.title)), h("div", { class: "choices" }, ...choices));
  /** @param {any} value */
  const look = (value) => radios.forEach((/** @type {HTMLInputElement} */ radio, /** @type {number} */ each) => (radio.checked = property.enum[each] === value));
  return { element, look, marked: element };
}

/** @param {string} name @param {any} property @param {(value: any) => void} give @returns {Control} */
function list(name, property, give) {
  const options = property.enum.map((/** @type {any} */ value) => h("option", null, String(value)));
  const input = h("select", { ...described(name), onchange: () => give(property.enum[input.selectedIndex]) }, ...options);
  return { element: labelled(property, input), look: (value) => (input.selectedIndex = property.enum.indexOf(value)), marked: input };
}

/**
 * @param {string} name
 * @param {any} property
 * @param {any} schema
 * @param {(value: any) => void} give
 * @returns {Control}
 */
function number(name, property, schema, give) {
  const { minimum, maximum, "x-step": step } = schema;
  const input = h("input", { type: "number", min: minimum, max: maximum, step: "any", inputMode: "decimal", ...described(name) });
  const slides = !property.anyOf && (maximum - minimum) / step <= POSITIONS;
  const slider = h("input", { type: "range", min: minimum, max: maximum, step, "aria-label": t(property.title), tabIndex: -1 });
  input.oninput = () => {
    const value = numberIn(input, property, schema);
    if (!(value instanceof Wrong)) slider.value = String(value);
    give(value);
  };
  slider.oninput = () => {
    input.value = slider.value;
    give(Number(slider.value));
  };
  /** @param {number | null} value */
  const look = (value) => (input.value = slider.value = written(value));
  return { element: labelled(property, slides ? h("span", { class: "sliding" }, input, slider) : input), look, marked: input };
}

/** An emptied field means the default. @param {HTMLInputElement} input @param {any} property @param {any} schema */
function numberIn(input, property, { type, minimum: low, maximum: high }) {
  if (input.value === "" && !input.validity.badInput) return property.default;
  const value = Number(input.value);
  const whole = type === "integer";
  if (!input.validity.badInput && value >= low && value <= high && (!whole || Number.isInteger(value))) return value;
  return new Wrong(whole ? t("Use a whole number from {low} to {high}.", { low, high }) : t("Use a number from {low} to {high}.", { low, high }));
}

/** @param {string} text @param {number} count */
function numbers(text, count) {
  const parts = text.trim().split(/[\s,;，]+/).filter(Boolean);
  if (!parts.length) return null;
  const values = parts.map(Number);
  return values.length === count && values.every(Number.isFinite) ? values : new Wrong(t("Give {count} numbers with commas between them.", { count }));
}

/** @param {any} property @param {HTMLElement} control */
function labelled(property, control) {
  return h("label", { class: "field" }, h("span", null, t(property.title)), control);
}

/** @param {string} name */
function described(name) {
  return { id: `set-${name}`, "aria-describedby": `help-${name} wrong-${name}` };
}

/** A value as its field shows it. @param {any} value */
function written(value) {
  if (value === null || value === undefined) return "";
  return Array.isArray(value) ? value.join(", ") : String(value);
}

/** @param {Node} inside */
function focused(inside) {
  return /** @type {Document | ShadowRoot} */ (inside.getRootNode()).activeElement;
}

// @ts-check
/** `<sonic-gate take="ID">`: over everything else, one video and the consent to it. The browser holds the focus in it. */

import { apart, dress, followTheme } from "./begin.js";
import "./app.js";
import { h } from "./dom.js";
import { ICONS } from "./notes.js";
import { tool } from "./player.js";
import { t } from "./words.js";

class Gate extends HTMLElement {
  #ended = new AbortController();
  #frame = h("div", { class: "frame" });
  #dialog = h("dialog", { onclose: () => this.remove(), oncancel: (/** @type {Event} */ event) => event.target === this.#dialog || event.preventDefault() }, this.#frame);

  connectedCallback() {
    const root = this.attachShadow({ mode: "open" });
    followTheme(this, this.#ended.signal);
    apart(this);
    this.#dialog.setAttribute("aria-label", t("Consent and export"));
    const close = tool(ICONS.close, t("Close"), () => this.#dialog.close());
    close.classList.add("away");
    const page = h("sonic-app", { hosted: this.getAttribute("hosted") ?? "", take: this.getAttribute("take"), lang: this.lang });
    this.#frame.append(close, page);
    root.append(...dress(this, ["history.css", "node.css"]), this.#dialog);
    this.#dialog.showModal();
  }

  disconnectedCallback() {
    this.#ended.abort();
  }
}

/**
 * Ask for the consent to one video.
 *
 * @param {string} id of the job that made it
 * @param {HTMLElement} asker whose language and look it has
 * @returns {Promise<void>} settled when it is closed, whatever came of it
 */
export function consentTo(id, asker) {
  return new Promise((resolve) => {
    const gate = h("sonic-gate", { hosted: asker.getAttribute("hosted") ?? "", lang: asker.lang });
    gate.setAttribute("take", id);
    document.body.append(gate);
    gate.shadowRoot?.querySelector("dialog")?.addEventListener("close", () => resolve(), { once: true });
  });
}

customElements.define("sonic-gate", Gate);

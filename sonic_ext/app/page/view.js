// @ts-check
/** What the page's elements have in common. */

/** @typedef {import("./state.js").State} State */

/** A part of the page. `show` builds it, once it is in the document; `gone` ends what it began. */
export class View extends HTMLElement {
  /** @type {State} Given before it is put into the document. */
  state = /** @type {any} */ (undefined);
  /** @type {AbortController} */
  #ended = new AbortController();

  connectedCallback() {
    if (this.#ended.signal.aborted) this.#ended = new AbortController();
    this.show();
  }

  disconnectedCallback() {
    this.#ended.abort();
  }

  /** For listeners and requests: aborted when the view leaves the document. */
  get gone() {
    return this.#ended.signal;
  }

  /** Build the view. */
  show() {}
}

/**
 * A view with its state.
 *
 * @template {View} V
 * @param {new () => V} kind
 * @param {State} state
 * @param {Partial<V>} [values]
 * @returns {V}
 */
export function made(kind, state, values = {}) {
  const view = new kind();
  view.state = state;
  return Object.assign(view, values);
}

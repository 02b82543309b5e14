// @ts-check
/**
 * Elements made in one expression. Text is always text: nothing that a file or a server says becomes markup.
 *
 *     h("button", { class: "primary", onclick: () => go() }, t("Generate"))
 */

/** @typedef {Node | string | number | null | undefined | false} Child */
/** @typedef {Record<string, any>} Props */

/**
 * An element. Properties beginning with `on` are listeners; `class`, `style` (an object), `data` (an object)
 * and `aria-*` are what they are in HTML; others are set as properties where the element has them.
 *
 * @template {string} K
 * @param {K} tag
 * @param {Props | null} [props]
 * @param {...(Child | Child[])} children
 * @returns {K extends keyof HTMLElementTagNameMap ? HTMLElementTagNameMap[K] : HTMLElement}
 */
export function h(tag, props, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) set(made, name, value);
  made.append(...nodes(children));
  return /** @type {any} */ (made);
}

/**
 * Put these in the place of an element's children.
 *
 * @param {Element | DocumentFragment} parent
 * @param {...(Child | Child[])} children
 */
export function fill(parent, ...children) {
  parent.replaceChildren(...nodes(children));
}

/**
 * A drawing from `icons`: paths of 24 units, of the text's colour.
 *
 * @param {string} path
 * @returns {SVGSVGElement}
 */
export function icon(path) {
  const space = "http://www.w3.org/2000/svg";
  const drawing = document.createElementNS(space, "svg");
  drawing.setAttribute("viewBox", "0 0 24 24");
  drawing.setAttribute("class", "icon");
  drawing.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(space, "path");
  line.setAttribute("d", path);
  drawing.append(line);
  return drawing;
}

/** @param {(Child | Child[])[]} children */
function nodes(children) {
  return children.flat().filter(shown).map((each) => (each instanceof Node ? each : String(each)));
}

/**
 * @param {Child} child
 * @returns {child is Node | string | number}
 */
function shown(child) {
  return child !== null && child !== undefined && child !== false;
}

/**
 * @param {any} element
 * @param {string} name
 * @param {any} value
 */
function set(element, name, value) {
  if (value === undefined || value === null) return;
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (name === "style") Object.assign(element.style, value);
  else if (name === "data") Object.assign(element.dataset, value);
  else if (name === "class") element.className = value;
  else if (name in element && !name.includes("-")) element[name] = value;
  else if (value !== false) element.setAttribute(name, value === true ? "" : String(value));
}

// @ts-check
/** What is dragged by mouse, finger and arrow keys. */

/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * Let an element be dragged.
 *
 * @param {HTMLElement} element
 * @param {object} how
 * @param {() => number} how.scale units per pixel of the screen
 * @param {() => number} how.step units of one press of an arrow key; ten times that with Shift
 * @param {() => (dx: number, dy: number) => void} how.begin gives what moves it, by units since the beginning
 */
export function grip(element, { scale, step, begin }) {
  element.addEventListener("pointerdown", (down) => {
    if (down.button !== 0) return;
    down.preventDefault();
    down.stopPropagation();
    element.focus();
    element.setPointerCapture(down.pointerId);
    const move = begin();
    const unit = scale();
    const ended = new AbortController();
    element.addEventListener(
      "pointermove",
      ({ clientX, clientY }) => move((clientX - down.clientX) * unit, (clientY - down.clientY) * unit),
      { signal: ended.signal },
    );
    for (const end of ["pointerup", "pointercancel"]) element.addEventListener(end, () => ended.abort(), { signal: ended.signal });
  });
  element.addEventListener("keydown", (event) => {
    const arrow = ARROWS[event.key];
    if (!arrow || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    const distance = step() * (event.shiftKey ? 10 : 1);
    begin()(arrow[0] * distance, arrow[1] * distance);
  });
}

/** @param {number} value @param {number} low @param {number} high */
export function within(value, low, high) {
  return Math.max(low, Math.min(high, value));
}

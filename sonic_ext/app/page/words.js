// @ts-check
/** The page's language. English texts are the keys; another language is a catalogue of them, of the API's. */

/** @type {Record<string, string>} */
let catalogue = {};

/** What is spoken: a tag as in `lang`. */
export let language = "en";

/**
 * Speak a language; English where there is no such catalogue.
 *
 * @param {string} wanted
 * @param {string[]} tags of the languages that there are
 * @param {(language: string) => Promise<Record<string, string>>} load
 */
export async function speak(wanted, tags, load) {
  const known = tags.find((each) => wanted.toLowerCase().startsWith(each)) ?? "en";
  catalogue = known === "en" ? {} : await load(known);
  language = known;
}

/**
 * A text in that language, with `{names}` filled in.
 *
 * @param {string} text
 * @param {Record<string, string | number>} [values]
 */
export function t(text, values) {
  const said = catalogue[text] ?? text;
  if (typeof values !== "object") return said; // as of `list.map(t)`
  return said.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/**
 * Seconds as people say them: `45 s`, `3 min 20 s`, `1 h 5 min`.
 *
 * @param {number} seconds
 */
export function duration(seconds) {
  if (seconds < 9.95) return t("{count} s", { count: seconds.toFixed(1) });
  const whole = Math.round(seconds);
  if (whole < 60) return t("{count} s", { count: whole });
  const [minutes, rest] = [Math.floor(whole / 60), whole % 60];
  if (minutes < 60) return rest ? t("{minutes} min {seconds} s", { minutes, seconds: rest }) : t("{minutes} min", { minutes });
  return t("{hours} h {minutes} min", { hours: Math.floor(minutes / 60), minutes: minutes % 60 });
}

/**
 * Bytes as people say them.
 *
 * @param {number} count
 */
export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let power = 0;
  while (count >= 999.5 && power < units.length - 1) [count, power] = [count / 1000, power + 1];
  return `${power && count < 9.95 ? count.toFixed(1) : Math.round(count)} ${units[power]}`;
}

/**
 * A moment of the API, in the reader's own time.
 *
 * @param {string} time ISO 8601
 */
export function moment(time) {
  return new Date(time).toLocaleString(language, { dateStyle: "medium", timeStyle: "short" });
}

// @ts-check
/** The API under /sonic/v1 as the page uses it: nothing else of the server is asked. See docs/api.md. */

import { language } from "./words.js";

/** Milliseconds between two looks where events do not come. */
const EVERY = 1500;
/** The same while a WebUI does not answer: one that is asked before it has built its API does not start. */
const AWAY = 5000;
/** Milliseconds after which a line of events on which nothing came is given up: a proxy holds it back. */
const PATIENCE = 6000;

/** What the server says no with. */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {{ error?: string, detail?: string, hint?: string }} told
   */
  constructor(status, told) {
    super(told.detail ?? `HTTP ${status}`);
    this.status = status;
    /** Which kind it is, such as `NoFace`. */
    this.kind = told.error ?? "";
    /** What to do about it. */
    this.hint = told.hint ?? "";
  }
}

/**
 * @typedef {object} Animation
 * @property {string} id
 * @property {string} origin
 * @property {"queued" | "running" | "done" | "failed" | "cancelled"} state
 * @property {boolean} held
 * @property {number} position
 * @property {number} progress
 * @property {string} stage
 * @property {number | null} seconds_left
 * @property {string} created
 * @property {string | null} ended
 * @property {string[]} warnings
 * @property {string} infotext
 * @property {boolean | null} portrait_synthetic
 * @property {{ id: string, engine: string, seed: number, width: number, height: number, fps: number, frames: number, seconds: number, sync_offset: number | null, persons: number } | null} take
 * @property {string | null} preview
 * @property {string | null} poster
 * @property {{ video: string, name: string, sha256: string, record: string, warnings: string[] } | null} export
 * @property {{ error: string, detail: string, hint: string } | null} error
 */

export class Api {
  /**
   * @param {string} base address of /sonic/v1, without a slash at its end
   * @param {string} [token] of this page, where the host gave one
   * @param {(problem: Problem) => void} [refused] told where that lets the page in no more
   */
  constructor(base, token = "", refused = () => undefined) {
    this.base = base;
    this.token = token;
    this.refused = refused;
  }

  /**
   * Ask; the answer's JSON.
   *
   * @param {string} method
   * @param {string} path from /
   * @param {object} [body]
   * @param {AbortSignal} [signal]
   * @returns {Promise<any>}
   * @throws {Problem} the server says no, or cannot be reached (status 0)
   */
  async ask(method, path, body, signal) {
    const answer = await this.#fetched(method, path, body, signal);
    return answer.json();
  }

  /** @param {string} path @param {AbortSignal} [signal] */
  get(path, signal) {
    return this.ask("GET", path, undefined, signal);
  }

  /** @param {string} path @param {object} [body] @param {AbortSignal} [signal] */
  post(path, body = {}, signal) {
    return this.ask("POST", path, body, signal);
  }

  /**
   * The page's own texts in another language: English → that. The browser keeps them, and asks whether they changed.
   *
   * @param {string} language
   * @returns {Promise<Record<string, string>>}
   */
  async texts(language) {
    return (await (await this.#fetched("GET", `/messages/${language}`, undefined, undefined, "no-cache")).json()).texts;
  }

  /**
   * A file of the API, such as a video.
   *
   * @param {string} address as an answer names it
   * @param {AbortSignal} [signal]
   * @returns {Promise<Blob>}
   */
  async file(address, signal) {
    return (await this.#fetched("GET", address, undefined, signal)).blob();
  }

  /** Where a file lies: as the server names it, a path may lack what a proxy puts before it. @param {string} path */
  address(path) {
    return this.base + path.replace(/^.*\/sonic\/v1(?=\/)/, "");
  }

  /**
   * Tell of all videos as they stand, now and whenever that changes, until the signal ends it. Where events
   * do not come through, they are asked for again and again.
   *
   * @param {(animations: Animation[]) => void} told newest first
   * @param {(reached: boolean) => void} reachable whether the server answers
   * @param {AbortSignal} signal
   */
  async watch(told, reachable, signal) {
    let buffered = false;
    while (!signal.aborted) {
      try {
        if (buffered) {
          told((await this.get("/animations", signal)).animations);
          reachable(true);
          await pause(EVERY, signal);
        } else {
          buffered = !(await this.#listen(told, reachable, signal));
        }
      } catch (error) {
        if (signal.aborted || (error instanceof Problem && this.#refuses(error))) return;
        reachable(false);
        await pause(this.token ? AWAY : EVERY, signal);
      }
    }
  }

  /**
   * Listen to events until the line ends.
   *
   * @param {(animations: Animation[]) => void} told
   * @param {(reached: boolean) => void} reachable
   * @param {AbortSignal} signal
   * @returns {Promise<boolean>} whether any came
   */
  async #listen(told, reachable, signal) {
    const line = new AbortController();
    const end = () => line.abort();
    signal.addEventListener("abort", end, { once: true });
    const watchdog = setTimeout(end, PATIENCE);
    let came = false;
    try {
      const answer = await this.#fetched("GET", "/events", undefined, line.signal);
      /** @type {Map<string, Animation>} */
      let known = new Map();
      for await (const { name, data } of eventsOf(answer)) {
        clearTimeout(watchdog);
        came = true;
        reachable(true);
        if (name === "animations") known = new Map(data.animations.map((/** @type {Animation} */ each) => [each.id, each]));
        else if (name === "forgotten") known.delete(data.id);
        else if (known.has(data.id)) known.set(data.id, data);
        else known = new Map([[data.id, data], ...known]);
        told([...known.values()]);
      }
    } catch (error) {
      if (came || !line.signal.aborted || signal.aborted) throw error;
    } finally {
      clearTimeout(watchdog);
      signal.removeEventListener("abort", end);
      line.abort();
    }
    return came;
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {object} [body]
   * @param {AbortSignal} [signal]
   * @param {RequestCache} [cache]
   */
  async #fetched(method, path, body, signal, cache = "no-store") {
    /** @type {Record<string, string>} */
    const headers = { "Accept-Language": language, "X-Sonic-From": "page" };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (this.token) headers["X-Sonic-Token"] = this.token;
    let answer;
    try {
      answer = await fetch(this.address(path), { method, headers, signal, body: body && JSON.stringify(body), cache });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Problem(0, { error: "Unreachable", detail: "", hint: "" });
    }
    if (answer.ok) return answer;
    const problem = new Problem(answer.status, await answer.json().catch(() => ({})));
    if (this.#refuses(problem)) this.refused(problem);
    throw problem;
  }

  /** Whether the token is of another start of the server, or its user no longer logged in. @param {Problem} problem */
  #refuses({ status }) {
    return Boolean(this.token) && status === 401;
  }
}

/**
 * A file in base64, as requests take it.
 *
 * @param {Blob} file
 * @returns {Promise<string>}
 */
export function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result).replace(/^data:[^,]*,/, ""));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

/**
 * The events of an answer, one by one.
 *
 * @param {Response} answer
 * @returns {AsyncGenerator<{ name: string, data: any }>}
 */
async function* eventsOf(answer) {
  const reader = /** @type {ReadableStream<Uint8Array>} */ (answer.body).getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += decoder.decode(value, { stream: true });
    const whole = rest.split("\n\n");
    rest = whole.pop() ?? "";
    for (const block of whole) {
      const fields = Object.fromEntries(block.split("\n").map((line) => [line.split(": ", 1)[0], line.slice(line.indexOf(": ") + 2)]));
      if (fields.data) yield { name: fields.event, data: JSON.parse(fields.data) };
    }
  }
}

/** @param {number} milliseconds @param {AbortSignal} signal */
function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const end = () => (clearTimeout(timer), resolve(undefined));
    const timer = setTimeout(end, milliseconds);
    signal.addEventListener("abort", end, { once: true });
  });
}

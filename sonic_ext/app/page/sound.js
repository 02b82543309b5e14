// @ts-check
/** Sound in the browser: read, drawn, cut. */

/** Samples per second that sound is read at. */
const RATE = 48000;
/** Seconds beyond which sound is not read here: it would fill the memory. */
const LONGEST = 30 * 60;
/** Bytes beyond which a file of unknown length is not read here. */
const LARGEST = 60e6;

/**
 * The sound of a file; null where the browser cannot read it, or not within its memory.
 *
 * @param {Blob} file
 * @returns {Promise<AudioBuffer | null>}
 */
export async function decoded(file) {
  const seconds = await lengthOf(file);
  if (seconds > LONGEST || (seconds === 0 && file.size > LARGEST)) return null;
  try {
    const sound = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(await file.arrayBuffer());
    return sound.length ? sound : null;
  } catch {
    return null;
  }
}

/** Seconds; 0 where they are not known. @param {Blob} file @returns {Promise<number>} */
function lengthOf(file) {
  return new Promise((resolve) => {
    const player = document.createElement("audio");
    const address = URL.createObjectURL(file);
    /** @param {number} seconds */
    const end = (seconds) => {
      player.removeAttribute("src");
      URL.revokeObjectURL(address);
      resolve(Number.isFinite(seconds) ? seconds : 0);
    };
    player.onloadedmetadata = () => end(player.duration);
    player.onerror = () => end(0);
    player.preload = "metadata";
    player.src = address;
  });
}

/**
 * Loudest sample of each of `count` equal parts, 0 to 1.
 *
 * @param {AudioBuffer} sound
 * @param {number} count
 */
export function peaks(sound, count) {
  const samples = sound.getChannelData(0);
  const width = samples.length / count;
  const stride = Math.max(1, Math.floor(width / 400));
  return Array.from({ length: count }, (_, part) => {
    let peak = 0;
    const end = Math.min(samples.length, Math.ceil((part + 1) * width));
    for (let at = Math.floor(part * width); at < end; at += stride) peak = Math.max(peak, Math.abs(samples[at]));
    return Math.min(1, peak);
  });
}

/**
 * A part of a sound as 16-bit WAV.
 *
 * @param {AudioBuffer} sound
 * @param {number} [from] seconds
 * @param {number} [to] seconds
 */
export function wav(sound, from = 0, to = sound.duration) {
  const begin = Math.round(from * sound.sampleRate);
  const length = Math.min(sound.length, Math.round(to * sound.sampleRate)) - begin;
  const channels = Array.from({ length: Math.min(2, sound.numberOfChannels) }, (_, each) => sound.getChannelData(each));
  const samples = new DataView(new ArrayBuffer(length * channels.length * 2));
  let place = 0;
  for (let at = begin; at < begin + length; at++) {
    for (const channel of channels) {
      samples.setInt16(place, Math.round(Math.max(-1, Math.min(1, channel[at])) * 32767), true);
      place += 2;
    }
  }
  return new File([header(samples.byteLength, channels.length, sound.sampleRate), samples.buffer], "speech.wav", { type: "audio/wav" });
}

/** @param {number} size @param {number} channels @param {number} rate */
function header(size, channels, rate) {
  const view = new DataView(new ArrayBuffer(44));
  /** @param {number} at @param {string} letters */
  const text = (at, letters) => [...letters].forEach((letter, each) => view.setUint8(at + each, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + size, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, channels, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, rate * channels * 2, true);
  view.setUint16(32, channels * 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, size, true);
  return view.buffer;
}

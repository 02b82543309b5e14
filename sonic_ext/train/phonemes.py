"""Phoneme names (IPA, as eSpeak NG writes them; ARPABET, as Flite does) → visemes with times."""

from __future__ import annotations

import json
import math
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from ..engines.preview.visemes import Viseme
from ..errors import BadInput

PAUSE = "_"
"""Name of a pause in a list of phonemes."""


@dataclass(frozen=True)
class Phoneme:
    """A speech sound and when it is heard."""

    name: str
    start: float
    """Seconds."""
    end: float
    """Seconds."""


_CLASSES = {
    Viseme.CLOSED: "pbmɓɱ",
    Viseme.TUCKED: "fvʋ",
    Viseme.OPEN: "aɑæɶ",
    Viseme.HALF_OPEN: "ɛʌɐ",
    Viseme.MID: "əeɜɘɤɚɝᵊᵻ",
    Viseme.FRONT: "iɪɨj",
    Viseme.ROUND_MID: "oɔɒœɵɞ",
    Viseme.ROUND_CLOSE: "uʊwyʏøɥɯʉɰʍ",
    Viseme.HISS: "sz",
    Viseme.HUSH: "ʃʒɕʑʂʐ",
    Viseme.DENTAL: "θð",
    Viseme.TIP: "tdnlɾɲʈɖɳɭʎɫɬɗ",
    Viseme.BACK: "kgɡŋhxçχɣħɦʔqcɟʝɴɧɠʜ",
    Viseme.RHOTIC: "ɹrɻʁʀɽ",
}
_VISEMES = {symbol: viseme for viseme, symbols in _CLASSES.items() for symbol in symbols}
SYMBOLS = "".join(sorted(_VISEMES)) + "ː" + PAUSE
"""Letters that phonemes' names consist of, in a fixed order; what is not among them is rare."""
_VOWELS = {Viseme.OPEN, Viseme.HALF_OPEN, Viseme.MID, Viseme.FRONT, Viseme.ROUND_MID, Viseme.ROUND_CLOSE}
_SIBILANTS = {Viseme.HISS, Viseme.HUSH}
_ASCII = {"ts.": "ʂ", "dz.": "ʐ", "s.": "ʂ", "z.": "ʐ", "o-": "ɤ", "n^": "ɲ", "l^": "ʎ"}
"""Names that eSpeak NG leaves in its own ASCII notation."""

ARPABET = {
    "aa": "ɑ", "ae": "æ", "ah": "ʌ", "ao": "ɔ", "aw": "aʊ", "ax": "ə", "ay": "aɪ", "b": "b",
    "ch": "tʃ", "d": "d", "dh": "ð", "dx": "ɾ", "eh": "ɛ", "er": "ɜ", "axr": "ə", "ey": "eɪ",
    "f": "f", "g": "ɡ", "hh": "h", "hv": "h", "ih": "ɪ", "ix": "ɪ", "iy": "i", "jh": "dʒ", "k": "k",
    "l": "l", "el": "əl", "m": "m", "em": "m", "n": "n", "en": "n", "ng": "ŋ", "nx": "n",
    "ow": "oʊ", "oy": "ɔɪ", "p": "p", "r": "ɹ", "s": "s", "sh": "ʃ", "t": "t", "th": "θ", "uh": "ʊ",
    "uw": "u", "v": "v", "w": "w", "y": "j", "z": "z", "zh": "ʒ", "pau": PAUSE, "ssil": PAUSE,
    "sil": PAUSE, "brth": PAUSE,
}  # fmt: skip
"""Flite's names in IPA."""


def _symbols(name: str) -> list[tuple[Viseme, float]]:
    """Visemes in a phoneme's name with their weights in time."""
    for ascii_name, symbol in _ASCII.items():
        name = name.replace(ascii_name, symbol)
    found: list[tuple[Viseme, float]] = []
    for character in name:
        plain = character if character in _VISEMES else unicodedata.normalize("NFD", character)[0]
        viseme = _VISEMES.get(plain)
        if character == "ː" and found:
            found[-1] = (found[-1][0], found[-1][1] + 0.6)
        elif viseme in _SIBILANTS and found and found[-1][0] is Viseme.TIP:
            found[-1] = (viseme, 1.0)
        elif viseme is not None:
            found.append((viseme, 1.5 if viseme in _VOWELS else 1.0))
    return found


def visemes(name: str) -> list[tuple[Viseme, float]]:
    """What the lips do during a phoneme: visemes in order and each one's share of the time.

    Diphthongs and syllabic pairs have several, affricates look like their fricative. An empty list
    means a mark that has no mouth shape of its own (`ʲ`, a tone).
    """
    if name == PAUSE:
        return [(Viseme.SILENCE, 1.0)]
    found = _symbols(name)
    total = sum(weight for _, weight in found)
    return [(viseme, weight / total) for viseme, weight in found]


def is_vowel(name: str) -> bool:
    """True for vowels and diphthongs."""
    return bool(found := visemes(name)) and found[0][0] in _VOWELS and name[0] not in "jwɥɰʍ"


def is_bilabial(name: str) -> bool:
    """True for p, b, m."""
    return bool(found := visemes(name)) and found[0][0] is Viseme.CLOSED


def read_phonemes(path: Path) -> tuple[Phoneme, ...]:
    """Phonemes and their times: a list of `{"phoneme": IPA, "start_s": seconds, "end_s": seconds}`.

    Raises:
        BadInput: the file cannot be read, or holds something else.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        found = tuple(Phoneme(str(r["phoneme"]), float(r["start_s"]), float(r["end_s"])) for r in rows)
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read: {error.strerror or error}.", "Check its permissions."
        ) from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadInput(
            f"{path.name} holds no phonemes with times.",
            'It is a list of {"phoneme": IPA, "start_s": seconds, "end_s": seconds}.',
        ) from error
    if not all(0 <= each.start <= each.end < math.inf for each in found):
        raise BadInput(f"{path.name} has a phoneme that ends before it begins.", "Correct its times.")
    return found

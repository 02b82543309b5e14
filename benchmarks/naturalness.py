"""How natural the preview engine looks: figures of each portrait beside those of people, and contact sheets.

    python benchmarks/naturalness.py [PORTRAIT ...] [--speech FILE] [--sheet OUT.jpg] [--with seed=2,...]

Every portrait is drawn once for each `--with`; the sheet shows the first of them. Settings of a portrait's
own, such as points placed by hand, stand in NAME.json beside it. A row of the sheet: the portrait, then the
frames at which most can go wrong, with the figures below; red is what people do not do.

Figures: lips px of 256²; brows and pauses in eye distances; yaw and pitch by the tip of the nose; roll in
degrees; open, shut: height of the eyes over their width; lid: what shows on a shut one that is no skin, 1 in
an open eye; blinks a minute; gaze in eye widths; tear px; edge levels of 255 per px; still levels; score:
mean of THEval's, 1 is people's mean; fps: drawing alone.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonic_ext.engines.preview.engine import PreviewEngine
from sonic_ext.engines.preview.speech import RATE, MouthTrack, VisemeNet
from sonic_ext.errors import SonicError
from sonic_ext.evaluation.eyes import AWAKE
from sonic_ext.evaluation.naturalness import PEOPLE, FaceTrack, Look, Meter, Naturalness, naturalness
from sonic_ext.evaluation.voice import Voice
from sonic_ext.media.audio import Speech, read_speech
from sonic_ext.media.face import box_of
from sonic_ext.media.geometry import Box
from sonic_ext.media.image import read_portrait
from sonic_ext.media.scene import Scene, compose
from sonic_ext.pipeline import frame_count
from sonic_ext.progress import Stage
from sonic_ext.settings import Settings

MEDIA = Path(__file__).resolve().parent.parent / "tests" / "data" / "media"
PORTRAITS = [MEDIA / f"portrait_0{number}.jpg" for number in range(1, 6)]
SPEECH = MEDIA / "speech_en_flite_slt.wav"
VARIANTS = ("seed=1", "seed=2", "seed=3", "seed=1,motion_scale=2,dynamic_scale=2", "seed=1,framing=crop")
COLUMNS = (
    # field of Naturalness, heading, decimals
    ("lip_dynamics", "lips", 2),
    ("brow_dynamics", "brows", 4),
    ("silent_lips", "pauses", 4),
    ("lip_sync", "sync", 3),
    ("yaw", "yaw", 3),
    ("pitch", "pitch", 3),
    ("roll", "roll", 1),
    ("eyes_open", "open", 2),
    ("eyes_shut", "shut", 2),
    ("lid", "lid", 2),
    ("blinks", "blinks", 0),
    ("gaze", "gaze", 3),
    ("jump", "tear", 1),
    ("edge", "edge", 1),
    ("background", "still", 2),
)
CELL, CAPTION = 176, 22
"""Pixels: side of a picture on the sheet, and the height of a line of words."""
QUIET = 9
"""Frames around a pause."""
PAPER, INK, ALARM = (255, 255, 255), (40, 40, 40), (190, 20, 20)
MOMENTS = (
    *("portrait", "widest vowel", "p b m", "o u w", "f v", "full blink", "furthest left", "furthest right"),
    *("pause", "worst tear"),
)


@dataclass(frozen=True)
class Take:
    """One portrait with one set of settings."""

    name: str
    variant: str
    figures: Naturalness
    fps: float
    """Frames drawn a second, nothing else done."""
    cells: list[NDArray[np.uint8]]
    """uint8 RGB [CELL, CELL, 3]: the face at `MOMENTS`."""


def no_tick(stage: Stage, done: int, total: int, detail: str = "") -> None:
    """Nothing is shown and nothing stops."""


def drawn(path: Path, variant: str, speech: Speech, voice: Voice) -> Take:
    """Draw a portrait twice: once to measure, once by the clock and to keep the frames that are shown."""
    beside = path.with_suffix(".json")
    own = json.loads(beside.read_text(encoding="utf-8")) if beside.exists() else {}
    values = dict(part.split("=", 1) for part in variant.split(",") if part)
    settings = Settings.from_mapping({**own, **values})
    scene = compose(read_portrait(path), settings, PreviewEngine.size_multiple)
    count = frame_count(speech.length, settings.fps)
    mouth = VisemeNet().read(speech.blocks(RATE), count, settings.fps, no_tick)
    with closing(
        PreviewEngine().prepare(scene, speech, settings, count, settings.seed, no_tick)
    ) as animation:
        meter = Meter(settings.fps, scene.picture, scene.face.landmarks)
        for frame in animation.frames():
            meter.see(frame)
        track = meter.track()
        chosen = moments(track, mouth, voice)
        kept: dict[int, NDArray[np.uint8]] = {}
        began = time.perf_counter()
        for index, frame in enumerate(animation.frames()):
            if index in chosen:
                kept[index] = frame.copy()
        rate = count / (time.perf_counter() - began)
    square = head_square(scene)
    cells = [cell(scene.picture, square), *(cell(kept[index], square) for index in chosen)]
    worst = track.looks[np.nan_to_num(track["jump"], nan=-1.0).argmax()]
    mark(cells[-1], square, Look(*worst))
    return Take(path.stem, variant, naturalness(track, voice), rate, cells)


def moments(track: FaceTrack, mouth: MouthTrack, voice: Voice) -> list[int]:
    """Frames for `MOMENTS` but the first: by the landmarks in the frames, or by what the speech asks for."""
    pressed, eyes = mouth.press, track["eyes"]
    opening = track["opening"] if np.isfinite(track["opening"]).all() else mouth.jaw * (1 - pressed)
    awake = ~(eyes < AWAKE * np.nanmedian([*eyes, 0.0]))
    parted = awake & (pressed < 0.3)
    loudness = np.convolve(voice.loudness(track["time"]), np.ones(QUIET), "valid")
    places = (
        np.where(awake, opening, -1).argmax(),
        np.where(awake & (pressed >= min(0.5, pressed[awake].max())), opening, np.inf).argmin(),
        np.where(parted, mouth.rounding, -1).argmax(),
        np.where(parted, mouth.lower, 1).argmin(),
        np.nan_to_num(eyes, nan=9.0).argmin(),
        np.where(awake, np.nan_to_num(track["nose_x"]), np.inf).argmin(),
        np.where(awake, np.nan_to_num(track["nose_x"]), -np.inf).argmax(),
        loudness.argmin() + QUIET // 2,
        np.nan_to_num(track["jump"], nan=-1.0).argmax(),
    )
    return [int(place) for place in places]


def head_square(scene: Scene) -> Box:
    """The face with hair and neck, the same part of every frame, inside it."""
    box = box_of(scene.face.landmarks)
    half = min(0.78 * max(box.width, box.height), scene.width / 2, scene.height / 2)
    x = min(max(box.centre[0], half), scene.width - half)
    y = min(max(box.centre[1], half), scene.height - half)
    return Box(x - half, y - half, x + half, y + half)


def cell(frame: NDArray[np.uint8], square: Box) -> NDArray[np.uint8]:
    """A part of a frame at the size of the sheet, uint8 RGB [CELL, CELL, 3]."""
    scale = CELL / square.width
    place = np.array([[scale, 0, -square.left * scale], [0, scale, -square.top * scale]])
    if scale < 1:
        frame = cv2.GaussianBlur(frame, (0, 0), 0.4 / scale)
    return cv2.warpAffine(frame, place, (CELL, CELL), flags=cv2.INTER_CUBIC)


def mark(picture: NDArray[np.uint8], square: Box, look: Look) -> None:
    """Draw a circle around the tear of a frame."""
    scale = CELL / square.width
    x, y = (look.jump_x - square.left) * scale, (look.jump_y - square.top) * scale
    cv2.circle(picture, (round(x), round(y)), 12, ALARM, 1, cv2.LINE_AA)


def inside(name: str, value: float) -> bool:
    """Whether people have such a value; True where none was taken of them."""
    low, high = PEOPLE.get(name, (-np.inf, np.inf))
    return bool(np.isnan(value) or (value <= high and (low <= value or name == "eyes_shut")))


def sheet(takes: Sequence[Take]) -> NDArray[np.uint8]:
    """Contact sheet, uint8 RGB."""
    width = CELL * len(MOMENTS)
    page = np.full((CAPTION + len(takes) * (CELL + 2 * CAPTION), width, 3), PAPER, np.uint8)
    for column, words in enumerate(MOMENTS):
        write(page, words, column * CELL + 4, CAPTION - 7)
    for row, take in enumerate(takes):
        top = CAPTION + row * (CELL + 2 * CAPTION)
        page[top : top + CELL] = np.hstack(take.cells)
        at = write(page, f"{take.name}  {take.variant}", 4, top + CELL + CAPTION - 6)
        write(page, f"{take.fps:.0f} frames/s", at + 16, top + CELL + CAPTION - 6)
        at = 4
        for name, heading, digits in COLUMNS:
            value = getattr(take.figures, name)
            ink = INK if inside(name, value) else ALARM
            at = 14 + write(page, f"{heading} {figure(value, digits)}", at, top + CELL + 2 * CAPTION - 8, ink)
    return page


def write(page: NDArray[np.uint8], words: str, x: int, y: int, ink: tuple[int, int, int] = INK) -> int:
    """Put words on the page, their base line at `y`; the column where they end."""
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.45
    cv2.putText(page, words, (x, y), font, size, ink, 1, cv2.LINE_AA)
    return x + cv2.getTextSize(words, font, size, 1)[0][0]


def main() -> None:
    """Print the table and write the sheets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("portraits", nargs="*", type=Path, default=PORTRAITS)
    parser.add_argument("--speech", type=Path, default=SPEECH)
    parser.add_argument("--seconds", type=float, help="of the speech; all of it by default")
    parser.add_argument("--sheet", type=Path, help="JPEG to write; with more portraits than --rows, several")
    parser.add_argument("--rows", type=int, default=8, help="portraits on a sheet")
    parser.add_argument("--with", dest="variants", action="append", metavar="NAME=VALUE,...")
    chosen = parser.parse_args()
    speech = replace(read_speech(chosen.speech), limit=chosen.seconds)
    voice = Voice.of(speech)
    variants = chosen.variants or VARIANTS
    print(
        f"{'portrait':18} {'settings':38} " + " ".join(f"{heading:>7}" for _, heading, _ in COLUMNS), end=""
    )
    print(f" {'score':>6} {'fps':>5}")
    shown: list[Take] = []
    figures: list[Naturalness] = []
    for path in chosen.portraits:
        for number, variant in enumerate(variants):
            try:
                take = drawn(path, variant, speech, voice)
            except SonicError as error:
                print(f"{path.stem[:18]:18} {variant[:38]:38} {error}", flush=True)
                continue
            figures.append(take.figures)
            print(f"{take.name[:18]:18} {variant[:38]:38} {row(take.figures)} {take.fps:5.0f}", flush=True)
            if number == 0:
                shown.append(take)
    for name, choose in (("least", np.nanmin), ("median", np.nanmedian), ("most", np.nanmax)):
        print(f"{name:57} {summary(figures, choose)}")
    for name, end in (("people, least", 0), ("people, most", 1)):
        print(f"{name:57} {people(end)}")
    print(__doc__.split("Figures:")[1].strip())
    if chosen.sheet is not None:
        write_sheets(shown, chosen.sheet, chosen.rows)


def row(figures: Naturalness) -> str:
    """One line of the table, `COLUMNS` and the mean of THEval's scores."""
    cells = [figure(getattr(figures, name), digits).rjust(7) for name, _, digits in COLUMNS]
    known = [value for value in figures.scores().values() if np.isfinite(value)]
    return f"{' '.join(cells)} {figure(sum(known) / len(known) if known else np.nan, 2):>6}"


def figure(value: float, digits: int) -> str:
    """As it is shown; a dash for what could not be measured."""
    return f"{value:.{digits}f}" if np.isfinite(value) else "-"


def summary(figures: Sequence[Naturalness], choose: Callable[[list[float]], float]) -> str:
    """A line over all rows."""
    cells = []
    for name, _, digits in COLUMNS:
        values = [value for each in figures if np.isfinite(value := getattr(each, name))]
        cells.append(figure(choose(values) if values else np.nan, digits).rjust(7))
    return " ".join(cells)


def people(end: int) -> str:
    """The line of real clips: their least (0) or most (1)."""
    return " ".join(
        f"{PEOPLE[name][end]:7.{digits}f}" if name in PEOPLE else f"{'':7}" for name, _, digits in COLUMNS
    )


def write_sheets(takes: Sequence[Take], path: Path, rows: int) -> None:
    """One JPEG, or NAME_1.jpg, NAME_2.jpg ... with `rows` portraits each."""
    parts = [takes[start : start + rows] for start in range(0, len(takes), rows)]
    for number, part in enumerate(parts, 1):
        target = path if len(parts) == 1 else path.with_name(f"{path.stem}_{number}{path.suffix}")
        Image.fromarray(sheet(part)).save(target, quality=85)
        print(f"written: {target}")


if __name__ == "__main__":
    main()

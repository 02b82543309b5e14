"""One video: is it a face that talks, and what are its clips?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from ...errors import BadAudio, BadInput, BadVideo
from ...media import mel
from ...media.audio import Speech, read_speech
from ...media.container import may_pass
from ...media.video import probe
from ...progress import Tick
from ...sync.measure import SLOWEST
from ...sync.mouth import MouthMotion
from ...sync.sound import ROWS_PER_SECOND, sound_rows
from ...sync.tracks import ShotFace, VideoFaces, face_tracks
from ..clips import Clip, ClipRemark, Word
from .layouts import ClipSource
from .transcripts import read_transcript

FPS = 25
"""Frames a second of a clip."""
LEAST_SECONDS = 1.0
"""Of a clip."""
LEAST_FOUND = 0.7
"""Share of a shot's frames in which its face must be found."""
PROMINENT = 0.25
"""Area of a face beside that of the largest from which both may be the one who talks."""
TOGETHER = 0.15
"""Share of the looks at prominent faces in a shot that may be at another one than the first in the same
frame."""
LEAST_READ = 0.9
"""Share of the length that its header states from which a file is whole."""
LONGEST_GAP = 0.15
"""Seconds between two frames that are bridged."""
MOST_OFFSET = 0.08
"""Seconds that mouth and voice may be apart."""

FAILED = "failed"
"""Reason of what may pass: the next call tries again."""

OffsetOf = Callable[[Clip], "float | None"]
"""Measures by how many seconds the mouth comes after the voice; None where it cannot tell."""


class SkippedVideo(Exception):
    """A video or a shot gives no clip."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def remark(self, name: str) -> ClipRemark:
        return ClipRemark(name, False, self.reason, self.detail)


def examine(
    source: ClipSource, tick: Tick | None = None, offset_of: OffsetOf | None = None
) -> tuple[list[Clip], list[ClipRemark]]:
    """The clips of a video, one for each shot that shows one face that talks, and what there is to say of it.

    Args:
        source: the video.
        tick: called for every few seconds of sound and for every frame.
        offset_of: measures clips; those beyond `MOST_OFFSET` are left out. None leaves out none.

    Raises:
        BadVideo, BadAudio: it cannot be read now.
        Cancelled: from `tick`.
    """
    clips: list[Clip] = []
    try:
        speech, faces = watch_video(source, tick)
    except SkippedVideo as skipped:
        return clips, [skipped.remark(source.name)]
    words, remarks = _words(source, faces.seconds)
    rows = math.ceil(min(speech.length, max(faces.seconds, 0.0)) * ROWS_PER_SECOND)
    sound = sound_rows(speech.blocks(mel.RATE), rows)
    remarks += _cut_remark(source.name, faces)
    for name, number in long_shots(source.name, faces):
        try:
            face = one_face(faces, number)
            end = min(face.end, speech.length)
            clip = clip_between(name, source.speaker, face.motion, sound, words, max(face.start, 0.0), end)
            clips.append(_checked(clip, offset_of))
        except SkippedVideo as skipped:
            remarks.append(skipped.remark(name))
    return clips, remarks


def watch_video(source: ClipSource, tick: Tick | None) -> tuple[Speech, VideoFaces]:
    """Sound and faces of a video that is whole.

    Raises:
        SkippedVideo: it is damaged, silent, too short or too slow.
        BadVideo, BadAudio: it cannot be read now.
        Cancelled: from `tick`.
    """
    try:
        about = probe(source.path)
        _check_rate(about.fps or SLOWEST)
        _check_seconds(about.seconds or LEAST_SECONDS)
        if not about.audio_codec and source.sound is None:
            raise SkippedVideo("no_sound", "it has no sound")
        speech = read_speech(source.path if about.audio_codec else source.sound or source.path, tick)
        faces = face_tracks(source.path, tick, speech.mix.track if about.audio_codec else 0)
    except (BadVideo, BadAudio) as error:
        if may_pass(error):
            raise
        reason = "damaged" if isinstance(error, BadVideo) else "no_sound"
        raise SkippedVideo(reason, error.message) from error
    if faces.seconds < LEAST_READ * about.seconds:
        raise SkippedVideo("damaged", f"its pictures end after {faces.seconds:.1f} of {about.seconds:.1f} s")
    _check_rate(faces.fps)
    return speech, faces


def _check_rate(fps: float) -> None:
    if fps < SLOWEST:
        raise SkippedVideo("low_rate", f"{fps:.1f} frames a second")


def _check_seconds(seconds: float) -> None:
    if seconds < LEAST_SECONDS:
        raise SkippedVideo("too_short", f"{seconds:.2f} s")


def _words(source: ClipSource, seconds: float) -> tuple[tuple[Word, ...], list[ClipRemark]]:
    if source.transcript is None:
        return (), []
    try:
        return read_transcript(source.transcript, seconds), []
    except FileNotFoundError:
        return (), [ClipRemark(source.name, True, "no_transcript", f"there is no {source.transcript.name}")]
    except BadInput as error:
        return (), [ClipRemark(source.name, True, "bad_transcript", error.message)]


def _long(faces: VideoFaces) -> list[int]:
    """Numbers of the shots that may be clips."""
    return [number for number, shot in enumerate(faces.shots) if shot.seconds >= LEAST_SECONDS]


def _cut_remark(name: str, faces: VideoFaces) -> list[ClipRemark]:
    count, long = len(faces.shots), len(_long(faces))
    if count == 1:
        return []
    how = f"{count} shots, {long} of them of {LEAST_SECONDS:g} s or more"
    return [ClipRemark(name, bool(long), "cut", how)]


def long_shots(name: str, faces: VideoFaces) -> Iterator[tuple[str, int]]:
    """Name and number of each shot that is long enough; a video with cuts is split at them."""
    if len(faces.shots) == 1:
        yield name, 0
    else:
        yield from ((f"{name}#{number + 1}", number) for number in _long(faces))


def one_face(faces: VideoFaces, number: int) -> ShotFace:
    """The face of a shot, if it is one and is found often enough.

    Raises:
        SkippedVideo: there is none, or are several.
    """
    seen, frames = faces.of_shot(number), faces.shots[number].frames
    if not seen:
        raise SkippedVideo("no_face", "no face was found")
    largest = max(face.box.area for face in seen)
    prominent = [face for face in seen if face.box.area >= PROMINENT * largest]
    shown: NDArray[np.float64] = np.concatenate([face.motion.times[face.motion.found] for face in prominent])
    together = 1 - len(np.unique(shown)) / len(shown)
    if together > TOGETHER:
        raise SkippedVideo("two_faces", f"{len(prominent)} faces are seen together")
    best = max(prominent, key=lambda face: int(face.motion.found.sum()))
    share = float(best.motion.found.sum()) / frames
    if share < LEAST_FOUND:
        raise SkippedVideo("too_few_faces", f"its face was found in {share:.0%} of the frames")
    return best


def _checked(clip: Clip | None, offset_of: OffsetOf | None) -> Clip:
    """The clip, if it is long enough and mouth and voice go together."""
    seconds = clip.seconds if clip is not None else 0.0
    # What is cut off to begin with a row of sound makes no clip too short.
    if clip is None or seconds < LEAST_SECONDS - 1 / FPS:
        raise SkippedVideo("too_short", f"{seconds:.2f} s with a face and sound")
    late = offset_of(clip) if offset_of is not None else None
    if late is not None and abs(late) > MOST_OFFSET:
        raise SkippedVideo("off_sync", f"the mouth comes {late * 1000:+.0f} ms after the voice")
    return clip


def clip_between(
    name: str,
    speaker: str,
    motion: MouthMotion,
    sound: NDArray[np.float32],
    words: tuple[Word, ...],
    start: float,
    end: float,
) -> Clip | None:
    """A clip of a stretch of a video, its times counted from its own beginning; None where nothing is left.

    Args:
        motion: at the video's own frames.
        sound: rows of the whole video.
        start, end: seconds; the clip begins with the next row of sound.
    """
    first = math.ceil(start * ROWS_PER_SECOND - 1e-6)
    begin = first / ROWS_PER_SECOND
    frames = math.floor((end - begin) * FPS + 1e-6)
    if frames < 1:
        return None
    times = (np.arange(frames) + 0.5) / FPS
    geometry = resampled(motion, times + begin)
    rows = sound[first : first + frames * ROWS_PER_SECOND // FPS]
    inside = (_moved(word, begin, frames / FPS) for word in words)
    said = tuple(word for word in inside if word is not None)
    return Clip(name, speaker, MouthMotion(times, geometry), rows.astype(np.float16), said)


def resampled(motion: MouthMotion, times: NDArray[np.float64]) -> NDArray[np.float32]:
    """The geometry at other times, float32 [times, FEATURES].

    Straight from frame to frame; before the first and after the last by up to half a gap as there. nan where
    the face was lost on either side, or where frames lie further apart than `LONGEST_GAP`.
    """
    out = np.full((len(times), motion.geometry.shape[1]), np.nan, np.float32)
    if not len(motion):
        return out
    after = np.searchsorted(motion.times, times)
    right, left = np.minimum(after, len(motion) - 1), np.maximum(after - 1, 0)
    apart = motion.times[right] - motion.times[left]
    share = np.clip((times - motion.times[left]) / np.maximum(apart, 1e-9), 0, 1)[:, None]
    between = motion.geometry[left] * (1 - share) + motion.geometry[right] * share
    # A frame that was found stands for its own time, also beside one that was not.
    at_left, at_right = share < 1e-3, share > 1 - 1e-3
    between = np.where(at_left, motion.geometry[left], between)
    between = np.where(at_right, motion.geometry[right], between)
    beyond = np.maximum(motion.times[0] - times, times - motion.times[-1])
    near = ((apart <= LONGEST_GAP) | (at_left | at_right)[:, 0]) & (beyond <= LONGEST_GAP / 2)
    out[near] = between[near]
    return out


def _moved(word: Word, begin: float, seconds: float) -> Word | None:
    """The word on the clock of a clip; None unless all of it is in there, to half a frame."""
    start, end, slack = word.start - begin, word.end - begin, 0.5 / FPS
    return Word(word.text, max(0.0, start), end) if start >= -slack and end <= seconds + slack else None

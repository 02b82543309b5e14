"""The figures of a video, in the order of reports: names, units, what people have."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from . import theval
from .naturalness import PEOPLE

SCORE = "score_"
"""Before the name of a figure: THEval's score of it."""


class Group(str, Enum):
    """Which figures stand together."""

    SYNC = "Lip sync"
    MOUTH = "Lips"
    FACE = "Brows and eyes"
    HEAD = "Head"
    SCORES = "THEval scores"
    IDENTITY = "Identity"
    PICTURE = "Picture"


@dataclass(frozen=True)
class Metric:
    """One figure."""

    name: str
    """Column of the table, key in the JSON."""
    label: str
    unit: str
    group: Group
    help: str
    """One sentence."""
    digits: int = 3
    """Decimals that are shown."""
    shown: float = 1.0
    """What is shown is the value times this: `unit` is that of what is shown."""
    ideal: float | None = None
    """What a perfect video has, where there is such a thing."""

    @property
    def people(self) -> tuple[float, float] | None:
        """Least and most of real clips, unit of the value; None where that is not known."""
        return PEOPLE.get(self.name)

    def text(self, value: float) -> str:
        """The value as it is shown, without its unit; `–` where it was not measured."""
        return "–" if value != value else f"{value * self.shown:.{self.digits}f}".replace("-", "−")


def _score(name: str, label: str) -> Metric:
    return Metric(
        SCORE + name, f"Score: {label.lower()}", "", Group.SCORES,
        "1 is people's mean, 0 twice that or nothing.", 2,
        ideal=1.0,
    )  # fmt: skip


METRICS = (
    Metric("sync_offset", "Offset", "ms", Group.SYNC,
           "How much later the mouth comes than the voice; only where the network is sure.",
           0, 1000.0, 0.0),
    Metric("sync_error", "Size of the offset", "ms", Group.SYNC,
           "How far the mouth is from the voice, early or late.", 0, 1000.0, 0.0),
    Metric("sync_confidence", "Confidence", "", Group.SYNC,
           "Probability that the offset is within 40 ms of the truth.", 2, ideal=1.0),
    Metric("lip_sync", "Opening, loudness", "", Group.SYNC,
           "Mean difference of lip opening and loudness in speech, each scaled to 0 to 1 (THEval).", 3),
    Metric("closed", "p, b, m closed", "%", Group.MOUTH,
           "Share of p, b and m of 60 ms or more in which the lips are seen shut.", 0, 100.0, 1.0),
    Metric("closures", "p, b, m counted", "", Group.MOUTH, "How many of them the phonemes have.", 0),
    Metric("lip_dynamics", "Lip motion", "px", Group.MOUTH,
           "How much the lips change shape, in pixels of a 256² frame (THEval).", 2),
    Metric("silent_lips", "Lips in pauses", "eye dist.", Group.MOUTH,
           "How much the lips move in pauses of 0.3 s or more (THEval).", 4),
    Metric("vowel_opening", "Vowel opening", "eye dist.", Group.MOUTH, "Median gap between the lips.", 3),
    Metric("pause_opening", "Widest in pauses", "eye dist.", Group.MOUTH,
           "Widest gap between the lips in pauses of 0.15 s or more.", 3),
    Metric("brow_dynamics", "Brow motion", "eye dist./frame", Group.FACE,
           "Mean change of the brows' height from frame to frame (THEval).", 4),
    Metric("eyes_open", "Eyes open", "height/width", Group.FACE, "Median height of the open eyes.", 2),
    Metric("eyes_shut", "Eyes in blinks", "height/width", Group.FACE,
           "Median of what shows at the height of a blink.", 3),
    Metric("lid", "Lid", "", Group.FACE, "What shows on a shut lid that is no skin; 1 in an open eye.", 2),
    Metric("blinks", "Blinks", "per min", Group.FACE, "Blinks a minute.", 0),
    Metric("gaze", "Gaze", "eye widths", Group.FACE, "Standard deviation of the irises along the eyes.", 3),
    Metric("yaw", "Turn of the head", "eye dist.", Group.HEAD,
           "Standard deviation of the tip of the nose to the sides.", 3),
    Metric("pitch", "Nod of the head", "face heights", Group.HEAD,
           "Standard deviation of the tip of the nose up and down.", 3),
    Metric("roll", "Tilt of the head", "°", Group.HEAD,
           "Standard deviation of the line between the eyes.", 1),
    _score("lip_dynamics", "Lip motion"),
    _score("brow_dynamics", "Brow motion"),
    _score("silent_lips", "Lips in pauses"),
    _score("lip_sync", "Opening, loudness"),
    Metric("score", "THEval, mean of four", "", Group.SCORES,
           "Only where all four could be measured.", 2, ideal=1.0),
    Metric("identity", "Likeness", "cosine", Group.IDENTITY,
           "Mean cosine of the face in the frames to that in the first one, or in a portrait.", 3, ideal=1.0),
    Metric("identity_least", "Least likeness", "cosine", Group.IDENTITY,
           "The same of the frame that is least alike.", 3, ideal=1.0),
    Metric("jump", "Tear", "px", Group.PICTURE,
           "Largest step of the motion in face and throat that no smooth warp makes.", 1),
    Metric("edge", "New edge", "levels/px", Group.PICTURE,
           "Strongest edge that the first frame does not have.", 1),
    Metric("background", "Background", "levels", Group.PICTURE,
           "Mean difference from the first frame, away from head and shoulders.", 2),
)  # fmt: skip
"""All of them."""

BY_NAME = {metric.name: metric for metric in METRICS}
SCORES = tuple(SCORE + name for name in theval.TRUTH)
"""Names of THEval's scores."""

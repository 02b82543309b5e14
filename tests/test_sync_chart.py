"""The chart of a measurement, and the report as JSON and in words."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from made_sync import LAGS, report, track
from PIL import Image

from sonic_ext import messages
from sonic_ext.sync.chart import BEST, MOST_TRACKS, MOUTH, SOFT, VOICE, WIDTH, chart, chart_png
from sonic_ext.sync.report import SyncReport
from sonic_ext.sync.verdict import SyncVerdict, contradictions, hint, reason, summary, verdict, verdict_values

UNMEASURED = track(math.nan, 0.0, note="The mouth does not move.")


def _has(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:  # type: ignore[type-arg]
    return bool((picture == colour).all(axis=2).any())


def test_a_chart_shows_sound_mouth_and_offset() -> None:
    picture = chart(report(track()), "interview.mp4")
    assert (picture.dtype, picture.shape[1:]) == (np.uint8, (WIDTH, 3))
    assert all(_has(picture, colour) for colour in (VOICE, MOUTH, BEST))
    assert 0.3 < (picture == 255).all(axis=2).mean() < 0.9


def test_the_line_lies_at_the_offset() -> None:
    """Dashes of the same length, as much lower as the offset is less."""
    rows = {}
    for offset in (0.1, -0.1, 0.0):
        line = (chart(report(track(offset))) == BEST).all(axis=2).sum(axis=1)
        rows[offset] = np.flatnonzero(line > 400).mean()
    span = 300 / (LAGS[-1] - LAGS[0])
    assert rows[-0.1] - rows[0.1] == pytest.approx(0.2 * span, abs=2)
    assert rows[0.0] == pytest.approx((rows[-0.1] + rows[0.1]) / 2, abs=2)


def test_what_is_not_sure_is_grey() -> None:
    picture = chart(report(track(confidence=0.3)))
    assert not _has(picture, BEST)
    assert _has(picture, SOFT)


@pytest.mark.parametrize("name", ["", "采访 interview – ñandú 🎬\u202e\n.mp4", "x" * 5000, "\ud800"])
def test_any_name_is_drawn(name: str) -> None:
    with Image.open(io.BytesIO(chart_png(report(track()), name))) as picture:
        assert (picture.format, picture.width) == ("PNG", WIDTH)
        picture.load()
    plain = chart(report(track()))
    assert plain.shape == chart(report(track()), name).shape
    assert (plain != chart(report(track()), name)).any() == bool(name)


def test_tracks_lie_below_each_other() -> None:
    heights = [chart(report(*[track(seed=seed) for seed in range(count)])).shape[0] for count in range(9)]
    steps = np.diff(heights)
    assert len(set(steps[1 : MOST_TRACKS - 1])) == 1
    assert heights[MOST_TRACKS] == heights[-1]


@pytest.mark.parametrize(
    "odd",
    [
        report(),
        report(warnings=("The sound is silent.",)),
        report(UNMEASURED),
        report(track(), UNMEASURED),
        replace(report(), loudness=np.zeros(0, np.float32), seconds=0.0, fps=math.nan),
        report(replace(track(), scores=np.full((39, 31), np.nan, np.float32))),
        report(replace(track(), times=np.array([4.0]), scores=np.ones((1, 31), np.float32))),
        report(track(end=0.9), seconds=0.9),
        report(track(0.31)),
    ],
    ids=[
        "no face",
        "silence",
        "unmeasured",
        "one of two",
        "nothing",
        "nan",
        "one window",
        "short",
        "outside",
    ],
)
def test_odd_reports_have_a_chart(odd: SyncReport) -> None:
    picture = chart(odd)
    assert picture.shape[0] > 200
    assert (picture != 255).any()


def test_a_long_video_is_drawn_quickly() -> None:
    """An hour: pixels, not rows, are drawn."""
    rows = np.random.default_rng(0).random(50 * 3600).astype(np.float32)
    assert chart(replace(report(track()), loudness=rows, seconds=3600.0)).shape[1] == WIDTH


def test_a_report_is_json() -> None:
    values = report(track(), UNMEASURED, warnings=("Two faces.",)).values()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert (values["offset"], values["confidence"], values["warnings"]) == (0.08, 0.93, ["Two faces."])
    first, second = values["tracks"]
    assert len(first["scores"]) == len(first["times"]) == 37
    assert len(first["scores"][0]) == len(values["lags"]) == 31
    assert (second["offset"], second["confidence"], second["scores"]) == (None, 0.0, [])
    assert second["note"] == "The mouth does not move."


def test_a_report_without_an_offset_is_json() -> None:
    values = report().values()
    assert (values["offset"], values["confidence"], values["tracks"]) == (None, 0.0, [])


def test_an_answer_tells_every_so_many_windows() -> None:
    values = report(track(), UNMEASURED, track(0.4)).values(2, 20)
    assert (len(values["tracks"]), values["offset"]) == (2, 0.08)
    thin = values["tracks"][0]
    assert len(thin["times"]) == len(thin["scores"]) == 10
    assert thin["times"] == report(track()).values()["tracks"][0]["times"][::4]


def test_the_best_track_is_the_surest() -> None:
    found = report(track(0.2, 0.4), track(0.08, 0.9), UNMEASURED)
    assert (found.offset, found.confidence) == (0.08, 0.9)
    assert math.isnan(report(UNMEASURED).offset)


AGREE, MAY = "Mouth and voice agree: the mouth comes", "The mouth may come"


@pytest.mark.parametrize(
    ("offset", "confidence", "expected", "words"),
    [
        (0.08, 0.93, "out of sync", "The mouth comes 80 ms after the voice (confidence 0.93)."),
        (-0.2, 0.5, "out of sync", "The mouth comes 200 ms before the voice (confidence 0.50)."),
        (0.02, 0.9, "in sync", f"{AGREE} 20 ms after the voice (confidence 0.90)."),
        (-0.008, 0.9, "in sync", f"{AGREE} 8 ms before the voice (confidence 0.90)."),
        (
            0.08,
            0.4,
            "unsure",
            "The mouth may come 80 ms after the voice, which is not sure (confidence 0.40).",
        ),
        (
            -0.1,
            0.4,
            "unsure",
            "The mouth may come 100 ms before the voice, which is not sure (confidence 0.40).",
        ),
        (math.nan, 0.0, "not measured", "The lip sync could not be measured."),
    ],
)
def test_words(offset: float, confidence: float, expected: str, words: str) -> None:
    found = track(offset, confidence)
    assert (str(verdict(found)), summary(found)) == (expected, words)
    assert messages.translated("zh", words)
    assert bool(hint(report(found))) == (expected in ("unsure", "not measured"))
    assert messages.translated("zh", hint(report(found))) or not hint(report(found))


def test_codes() -> None:
    assert {str(each): each.exit_code for each in SyncVerdict} == {
        "in sync": 0,
        "out of sync": 9,
        "unsure": 10,
        "not measured": 10,
    }


def test_why_nothing_was_measured() -> None:
    assert reason(report(UNMEASURED)) == "The mouth does not move."
    assert reason(report(warnings=("The sound is silent.",))) == "The sound is silent."
    assert reason(report(track(), UNMEASURED)) == ""
    assert verdict_values(report())["reason"] == ""


def test_contradictions_are_between_sure_tracks() -> None:
    assert contradictions(report(track(0.08), track(-0.04))) != ()
    assert contradictions(report(track(0.08), track(0.01))) == ()
    assert contradictions(report(track(0.08), track(-0.2, 0.7), UNMEASURED)) == ()

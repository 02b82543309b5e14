"""Tables of the documents that are made from the code: `python docs/tables.py` writes them anew.

Each stands between `<!-- NAME -->` and `<!-- end -->`. A test fails when a document and the code differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from sonic_ext.app import form
from sonic_ext.cli import main as cli
from sonic_ext.evaluation.metrics import METRICS
from sonic_ext.media import audio, face, image, mixing, scene
from sonic_ext.provenance.verdict import Verdict
from sonic_ext.settings import PRESETS, Settings, describe

DOCS = Path(__file__).resolve().parent


def settings() -> str:
    """Every setting with default, range and meaning."""
    defaults = Settings().to_dict()
    rows = (
        (f"`{name}`", _code(defaults[name]), form.range_text(spec) or _kind(defaults[name]), spec.help)
        for name, spec in describe().items()
    )
    return _table(("setting", "default", "range", "meaning"), rows)


def presets() -> str:
    """What each preset changes."""
    rows = (
        (f"`{name}`", ", ".join(f"`{key}={_changed(value)}`" for key, value in changes.items()) or "nothing")
        for name, changes in PRESETS.items()
    )
    return _table(("preset", "changes"), rows)


def codes() -> str:
    """Exit codes, as the command line's own help has them."""
    rows = re.findall(r"^ {4}(\d+) +(.+)$", cli.CODES, re.MULTILINE)
    return _table(
        ("exit code", "meaning"), [(code, re.sub(r"SONIC_\w+=\w+", r"`\g<0>`", text)) for code, text in rows]
    )


def limits() -> str:
    """Limits of what goes in, from the constants that enforce them."""
    rows = (
        ("no face", "", "exit 2, offers the box by hand"),
        ("several faces", "", "the largest is taken, and it is said"),
        ("two voices and one face, one face for both", "", "exit 2, offers the boxes by hand"),
        ("two faces with two voices", "too close together to move", "exit 2; warning where they move less"),
        ("face under", f"{face.MIN_FACE} px", "exit 2"),
        ("face turned to the side", f"from {face.WARN_YAW:.0f}°", "warning with the measure"),
        ("", f"over {face.MAX_YAW:.0f}°", "exit 2"),
        ("face turned up or down", f"from {face.WARN_PITCH:.0f}°", "warning with the measure"),
        ("", f"over {face.MAX_PITCH:.0f}°", "exit 2"),
        ("head tilted", f"from {face.WARN_ROLL:.0f}°", "warning with the measure"),
        ("", f"over {face.MAX_ROLL:.0f}°", "exit 2, says how far to turn the picture"),
        ("picture on its side, upside down", f"±{face.MAX_LEANING:.0f}°", "set upright, and it is said"),
        ("mouth covered, cut off by the edge", "", "exit 2; warning where that is not certain"),
        ("squashed picture", "", "warning"),
        (
            "face half covered, drawn, carved",
            f"score under {face.SURE:g}",
            "warning; mouth and eyes can be placed",
        ),
        ("", f"score under {face.MIN_SCORE:g}", "exit 2"),
        (
            "picture",
            f"over {image.MAX_PIXELS // 10**6} megapixels or {image.MAX_BYTES >> 20} MB",
            "exit 2, before it is decoded",
        ),
        ("picture with `framing=whole`", f"longer than {scene.MAX_ASPECT:g} : 1", "exit 2, offers crop"),
        ("text, damaged or truncated picture", "", "exit 2"),
        ("sound shorter than", f"{audio.MIN_SECONDS:g} s", "exit 2"),
        ("sound longer than", f"{audio.MAX_SECONDS / 3600:g} h", "exit 2"),
        ("sound that is only silence", "peak under -60 dBFS, a constant left out", "exit 2"),
        ("samples that are NaN or infinite", "", "exit 2, before anything is drawn"),
        ("samples beyond full scale", f"over {mixing.OVERSHOOT:g} times", "scaled down, and it is said"),
        ("channels that cancel each other", "", "the louder one is used, and it is said"),
        ("a voice in one of many channels, LFE too", "", "that channel is used, and it is said"),
        ("two voices", "a mono file, or the same in both channels", "exit 2"),
        ("", "one of them silent", "that person listens, and it is said"),
        ("several sound tracks", "", "one that is not silent, and it is said"),
        ("faint speech", f"under {audio.QUIET:g} LUFS", "warning"),
        ("a video given as sound", "", "its sound is used, and it is said"),
        ("output exists, folder missing or read-only, disk full", "", "exit 2, nothing left behind"),
        ("consent missing, expired, revoked", "", "exit 3"),
        ("Ctrl-C", "", "exit 130, nothing left behind"),
    )
    return _table(("what", "limit", "what happens"), rows)


def verdicts() -> str:
    """What the marks of a video can amount to, in the order in which it is decided."""
    rows = ((f"`{verdict}`", str(verdict.exit_code), verdict.meaning) for verdict in Verdict)
    return _table(("verdict", "exit code", "meaning"), rows)


def metrics() -> str:
    """What `sonic eval` measures, in the units of its CSV."""
    units = {"ms": "s", "%": "0 to 1"}
    rows = (
        (
            f"`{metric.name}`",
            units.get(metric.unit, metric.unit),
            " to ".join(map(str, metric.people or ())),
            f"{metric.label}. {metric.help}",
        )
        for metric in METRICS
    )
    return _table(("figure", "unit", "people", "meaning"), rows)


TABLES = {
    DOCS / "cli.md": {"codes": codes},
    DOCS / "settings.md": {"settings": settings, "presets": presets},
    DOCS / "limits.md": {"limits": limits},
    DOCS / "verify.md": {"verdicts": verdicts},
    DOCS / "evaluation.md": {"metrics": metrics},
}


def filled(path: Path) -> str:
    """The document at `path` with every table made anew."""
    text = path.read_text(encoding="utf-8")
    for name, make in TABLES[path].items():
        head, mark, rest = text.partition(f"<!-- {name} -->\n")
        _, end, tail = rest.partition("<!-- end -->")
        if not (mark and end):
            raise ValueError(f"{path.name} has no place for the table {name}")
        text = f"{head}{mark}{make()}\n{end}{tail}"
    return text


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(value: object) -> str:
    if value is None or value == "":
        return "none"
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else f"`{value}`"


def _changed(value: object) -> str:
    if isinstance(value, list):
        return ",".join(f"{part:g}" for part in value)
    return "none" if value is None else str(value)


def _kind(value: object) -> str:
    return "on, off" if isinstance(value, bool) else "text"


if __name__ == "__main__":
    for document in TABLES:
        document.write_text(filled(document), encoding="utf-8")

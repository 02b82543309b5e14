"""Marks in the container: AIGC label, XMP and comment.

AIGC: JSON under the key `AIGC` in moov.udta.meta (China, in force since 2025-09-01). XMP: a uuid box at the
end of the MP4, so that no offset moves, with the IPTC digital source type as its full URI. Comment: the
settings as infotext, as image files have it.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from ..configuration import PRODUCER_VARIABLE
from ..errors import BadSetting
from ..media.container import append_xmp_box, read_xmp_box
from ..settings import Settings
from ..text import whole

if TYPE_CHECKING:
    from .take import Take

TOOL = "sonic_ext"
"""Name of this tool in every mark."""
AIGC_KEY, COMMENT_KEY = "AIGC", "comment"
PREVIEW_NOTE = ", Sonic preview: yes"
"""End of the comment of a stamped preview."""

_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
TRAINED = _SOURCE_TYPES + "trainedAlgorithmicMedia"
"""All of the picture came out of the engine, or went in synthetic already."""
COMPOSITE = _SOURCE_TYPES + "compositeWithTrainedAlgorithmicMedia"
"""An animated head in a picture that may be a photograph."""

MAX_LABEL = 4096
"""Characters of an AIGC label that is read: ten times what its fields need."""
MAX_COMMENT = 1 << 16
"""Characters of a comment that are kept."""
_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
   <xmp:CreatorTool>{tool}</xmp:CreatorTool>
   <Iptc4xmpExt:DigitalSourceType>{source}</Iptc4xmpExt:DigitalSourceType>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""
_XMP_SOURCE = re.compile(
    r"Iptc4xmpExt:DigitalSourceType\s{0,99}(?:>|=\s{0,99}[\"'])\s{0,99}([^<\"'\s]{1,999})"
)
_AIGC_TEXT = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]*")
_AIGC_FIELDS = (
    "Label",
    "ContentProducer",
    "ProduceID",
    "ReservedCode1",
    "ContentPropagator",
    "PropagateID",
    "ReservedCode2",
)


@dataclass(frozen=True)
class AigcLabel:
    """The implicit label, as found in a file."""

    fields: dict[str, str]
    problems: tuple[str, ...] = ()
    """Where the label breaks its rules."""

    @property
    def take(self) -> str:
        """Id of the take where this tool wrote the label, else ""; anything but an id is none."""
        return take_id(self.fields.get("ProduceID")) if self.fields.get("ReservedCode1") == TOOL else ""


def take_id(value: object) -> str:
    """`value` where it is the id of a take, 16 hex digits, else ""; for what strangers may have written."""
    return value if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{16}", value) else ""


@dataclass(frozen=True)
class TakeProvenance:
    """What the marks in a file tell of its making, as long as there is no take; names as in `Take`."""

    id: str
    engine: str
    engine_version: str
    settings: Settings
    seed: int
    persons: int = 1


def tags(take: Take | TakeProvenance, preview: bool = False, producer: str = "") -> dict[str, str]:
    """Container tags of a video: AIGC label and comment.

    Args:
        take: what it is of.
        preview: the video is the stamped preview; the comment says so.
        producer: of the AIGC label, see `Configuration.producer`.

    Raises:
        BadSetting: $SONIC_AIGC_PRODUCER has characters that the label may not hold.
    """
    return {
        AIGC_KEY: aigc_label(take.id, producer),
        COMMENT_KEY: comment(take) + (PREVIEW_NOTE if preview else ""),
    }


def aigc_label(take_id: str, producer: str = "") -> str:
    """The AIGC label for a take: 1 (generated); producer and propagator are whoever runs this tool."""
    producer = producer or TOOL
    if not _AIGC_TEXT.fullmatch(producer):
        raise BadSetting(
            f"{PRODUCER_VARIABLE}={producer!r} cannot stand in an AIGC label.",
            'Use ASCII without spaces, " and \\.',
        )
    values = ("1", producer, take_id, TOOL, producer, take_id, "")
    return json.dumps(dict(zip(_AIGC_FIELDS, values, strict=True)), separators=(",", ":"))


def read_aigc(text: str) -> AigcLabel:
    """Parse the value of the `AIGC` key; what is wrong with it is told, not raised."""
    if len(text) > MAX_LABEL:
        return AigcLabel({}, (f"it is longer than {MAX_LABEL:,} characters",))
    try:
        values = json.loads(text)
        if not isinstance(values, dict):
            return AigcLabel({}, ("it is not a JSON object",))
        fields = {whole(name): whole(str(value)) for name, value in values.items()}
    except (ValueError, RecursionError):
        return AigcLabel({}, ("it is not JSON",))
    problems = [f"{name} is missing" for name in _AIGC_FIELDS if name not in fields]
    for name, value in values.items():
        if not isinstance(value, str) or not _AIGC_TEXT.fullmatch(value):
            problems.append(f"{whole(name)} is not text of the allowed characters")
    return AigcLabel(fields, tuple(problems))


def read_comment(text: str) -> str:
    """The value of the comment tag, cut to `MAX_COMMENT` characters."""
    return whole(text[:MAX_COMMENT])


def comment(take: Take | TakeProvenance) -> str:
    """Settings as infotext with the engine and seed that were used.

    The reason for no label stays local, and so do places in the portrait that were given by hand: the same
    numbers in two videos would tell that they show one portrait.
    """
    by_hand: dict[str, Any] = {"face_box": None, "face_box_2": None, "mouth": None, "eyes": None}
    settings = dataclasses.replace(take.settings, engine=take.engine, seed=take.seed, **by_hand)
    if settings.label == "off":
        settings = dataclasses.replace(settings, label_off_reason="see consent record")
    speakers = f", Sonic speakers: {take.persons}" if take.persons > 1 else ""
    return f"{settings.infotext()}{speakers}, Sonic version: {take.engine_version}"


def digital_source_type(take: Take | TakeProvenance, synthetic: bool) -> str:
    """IPTC's digital source type, full URI.

    `framing=whole` keeps pixels of the portrait around the animated head, so unless the portrait is known
    to be generated the video is a composite; so does `framing=published` with the preview engine. A crop is
    drawn by the engine all over, and so is all that the sonic engine draws as published.
    """
    framing = take.settings.framing
    kept = framing == "whole" or (framing == "published" and take.engine == "preview")
    return COMPOSITE if kept and not synthetic else TRAINED


def xmp(take: Take | TakeProvenance, source_type: str) -> bytes:
    """The XMP packet of a video."""
    tool = f"{TOOL} {take.engine_version} ({take.engine})"
    return _XMP.format(tool=escape(tool), source=escape(source_type)).encode()


def append_xmp(path: Path, take: Take, source_type: str) -> None:
    """Append the XMP box to a finished MP4 that has none."""
    append_xmp_box(path, xmp(take, source_type))


def read_source_type(path: Path) -> str:
    """The digital source type in a file's XMP box, or "" where there is none.

    Raises:
        OSError: the file cannot be read.
    """
    found = _XMP_SOURCE.search(read_xmp_box(path).decode("utf-8", "replace"))
    return found.group(1) if found else ""

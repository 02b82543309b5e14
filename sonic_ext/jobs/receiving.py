"""A take that was made elsewhere: verified against what was asked for, and taken into the private store.

Whoever made it holds no key and no ledger: the id was issued here, and here it is sealed and exported.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import Failed
from ..progress import Progress, Ticker
from ..provenance.metadata import AIGC_KEY, COMMENT_KEY, PREVIEW_NOTE, read_aigc
from ..provenance.store import MASTER_NAME, PREVIEW_NAME
from ..provenance.watermark import ALGORITHM

if TYPE_CHECKING:
    from ..media.audio import Speech
    from ..media.image import Portrait
    from ..media.video import VideoInfo
    from ..provenance.store import Store
    from ..provenance.take import Take
    from ..settings import Settings

HASH_DIGITS = 512
"""Of a perceptual hash, at most."""


@dataclass(frozen=True)
class DrawnVideo:
    """What came back: two marked files, and what was found while they were made."""

    master: bytes
    preview: bytes
    seed: int
    frames: int
    size: tuple[int, int]
    """Width and height of the master in pixels."""
    sync_offset: float | None
    looks: tuple[str, ...]
    """Perceptual hash of each face that speaks, hex: one or two."""
    warnings: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """All but the files, as plain JSON values."""
        values = {name: value for name, value in vars(self).items() if name not in ("master", "preview")}
        lists = {name: list(values[name]) for name in ("size", "looks", "warnings")}
        return values | lists

    @classmethod
    def of_take(cls, take: Take) -> DrawnVideo:
        """What goes back of a take."""
        return cls(
            master=take.master.read_bytes(),
            preview=take.preview.read_bytes(),
            seed=take.seed,
            frames=take.frames,
            size=(take.width, take.height),
            sync_offset=take.sync_offset,
            looks=take.looks,
            warnings=take.warnings,
        )

    @classmethod
    def from_facts(cls, values: Mapping[str, Any], master: bytes, preview: bytes) -> DrawnVideo:
        """The video that `facts` came from.

        Raises:
            Failed: they are none.
        """
        try:
            width, height = (int(side) for side in values["size"])
            offset, looks = values["sync_offset"], tuple(map(str, values["looks"]))
            finite = offset is None or math.isfinite(offset)
            if not (finite and all(map(_is_hash, looks))):
                raise ValueError("numbers that are none")
            return cls(
                master=master,
                preview=preview,
                seed=int(values["seed"]),
                frames=int(values["frames"]),
                size=(width, height),
                sync_offset=offset,
                looks=looks,
                warnings=tuple(map(str, values["warnings"])),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise Failed(f"What came back of a video cannot be read ({error}).", "Make it again.") from error


def receive(
    store: Store,
    take_id: str,
    portrait: Portrait,
    speech: Speech,
    settings: Settings,
    engine: str,
    drawn: DrawnVideo,
    progress: Progress,
) -> Take:
    """Take a video into the store that was made elsewhere under an id that was issued here.

    Nothing that it says of itself is believed which can be looked at: the watermark is read from its frames,
    the labels from both files, size and length from the streams.

    Args:
        take_id: that it was to be marked with.
        portrait, speech, settings, engine: that it was to be made with; `speech` holds one voice or two.
        progress: told of the steps, and asked whether to stop.

    Raises:
        Failed: it does not carry that id, or is another video than was asked for.
        ConsentRevoked: exports of the portrait were stopped meanwhile.
    """
    from ..pipeline import NOT_READABLE, frame_count, lookalike_warning, read_own_watermark

    if len(drawn.looks) != len(speech.voices):  # each of whom has to consent
        raise Failed("The video that came back shows other persons than speak.", "Make it again.")
    first, *others = drawn.looks
    tick, fps = Ticker(progress), settings.fps
    with store.new_take(take_id) as (_, folder):
        master, preview = folder / MASTER_NAME, folder / PREVIEW_NAME
        master.write_bytes(drawn.master)
        preview.write_bytes(drawn.preview)
        _require_marked(preview, take_id, is_preview=True)
        found = _require_marked(master, take_id, is_preview=False)
        expected = (*drawn.size, frame_count(speech.length, fps))
        if (found.width, found.height, drawn.frames) != expected or found.frames != drawn.frames:
            raise Failed("The video that came back has another size or length.", "Make it again.")
        mark = read_own_watermark(master, int(take_id, 16), fps, drawn.frames, tick)
        unread = () if mark or NOT_READABLE in drawn.warnings else (NOT_READABLE,)
        take = store.create(
            take_id,
            portrait,
            speech,
            settings=settings,
            engine=engine,
            engine_version=__version__,
            seed=drawn.seed,
            frames=drawn.frames,
            size=drawn.size,
            warnings=(*drawn.warnings, *unread, *lookalike_warning(store, *drawn.looks)),
            sync_offset=drawn.sync_offset,
            created=datetime.now(timezone.utc),
            mark_algorithm=ALGORITHM,
            mark=mark,
            perceptual_hash=first,
            second=(speech.voices[1], others[0]) if others else None,
        )
        # Revoked meanwhile: as in `pipeline.animate`
        store.ledger.refuse_revoked(take.portrait_sha256, take.portrait_pixel_sha256)
        return take


def _is_hash(looks: str) -> bool:
    return len(looks) <= HASH_DIGITS and re.fullmatch("[0-9a-f]*", looks) is not None


def _require_marked(path: Path, take_id: str, is_preview: bool) -> VideoInfo:
    """What a file says of itself, where its tags name the take and tell a master from a preview.

    Raises:
        Failed: they do not.
    """
    from ..media.video import probe

    found = probe(path)
    label = read_aigc(found.metadata.get(AIGC_KEY, ""))
    says_preview = found.metadata.get(COMMENT_KEY, "").endswith(PREVIEW_NOTE)
    if label.take != take_id or says_preview != is_preview:
        raise Failed(
            f"{path.name} of take {take_id} came back without the labels that it was to have.",
            "Make it again.",
        )
    return found

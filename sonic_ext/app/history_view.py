"""What was made since the page started: look, export later, delete."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, BadVideo, as_error
from ..jobs import Destination, Worker
from ..jobs.exporting import export_take
from ..progress import Stage, Step
from . import compat, html
from .compat import SelectData, gr
from .consent_form import ConsentForm
from .relay import Relay
from .showing import preview_of
from .tasks import TabKey, Updates

if TYPE_CHECKING:
    from ..configuration import Configuration
    from ..ports import Host
    from ..provenance.records import Record
    from ..provenance.store import Store, Unusable
    from ..provenance.take import Take

LIMIT = 60
"""Most videos shown."""
SIDE = 320
"""Longest side of a thumbnail, in pixels."""


@dataclass(frozen=True)
class HistoryEntry:
    """A take, and what became of it."""

    take: Take
    record: Record | None
    """Of its newest export; None where it never left the private folder."""

    @property
    def caption(self) -> str:
        """When it was made, and whether it was exported."""
        made = self.take.created.astimezone()
        state = "exported" if self.record else "not exported"
        return f"{made:%H:%M} · {state}"


def entries(store: Store, since: datetime | None) -> tuple[list[HistoryEntry], list[Unusable]]:
    """Takes in the store, and those that cannot be loaded, newest first.

    Args:
        since: UTC; only those that were made, or last changed, after it. None for all.
    """
    found = store.listing()
    takes = [take for take in found.takes if since is None or take.created >= since]
    unusable = [each for each in found.unusable if since is None or each.modified >= since]
    records = store.ledger.records() if takes else ()
    exported = {record.take: record for record in records if record.exported_at}
    return [HistoryEntry(take, exported.get(take.id)) for take in takes[::-1][:LIMIT]], unusable[::-1]


class HistoryView:
    """The *History* tab.

    Args:
        worker: its host says where exports go; its queue is told of them.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._host = worker.host
        self._since = datetime.now(timezone.utc)
        self.tab = gr.State(TabKey())
        self.ids = gr.State([])
        self.chosen = gr.State("")
        with gr.Row():
            self.earlier = gr.Checkbox(
                label="Also those of earlier sessions", elem_id="sonic_history_earlier", scale=4
            )
            self.renew = gr.Button("Refresh", scale=1, min_width=110, elem_classes="sonic-beside")
        self.told = gr.HTML(elem_id="sonic_history_told")
        with gr.Row(visible=False) as self.unusable_row:
            self.unusable = gr.Dropdown(
                [], label="Videos that cannot be used", elem_id="sonic_history_unusable", scale=4
            )
            self.delete_unusable = gr.Button(
                "Delete", variant="stop", scale=1, min_width=110, elem_classes="sonic-beside"
            )
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=300):
                self.shelf = compat.gallery(
                    label="Videos", columns=2, object_fit="cover", elem_id="sonic_history"
                )
            with gr.Column(scale=6, min_width=320, visible=False) as self.side:
                self._lay_out_chosen()
        self._wire()

    def _lay_out_chosen(self) -> None:
        self.video = gr.Video(label="Video", interactive=False, height=320, elem_id="sonic_history_video")
        self.facts = gr.HTML(elem_id="sonic_history_facts")
        with gr.Accordion("Consent and export", open=False) as self.gate:
            self.consent = ConsentForm("sonic_history_consent")
            self.export = gr.Button("Export", variant="primary", elem_id="sonic_history_export")
        self.outcome = gr.HTML(elem_id="sonic_history_outcome")
        with gr.Row() as self.acting:
            self.delete = gr.Button("Delete…", variant="stop", size="sm", elem_id="sonic_history_delete")
        with gr.Group(visible=False) as self.asking:
            gr.HTML(
                html.banner(
                    "warning",
                    "Delete this video?",
                    "It goes from the private folder for good; exported files and records stay.",
                )
            )
            with gr.Row():
                self.sure = gr.Button("Yes, delete", variant="stop", elem_id="sonic_history_delete_sure")
                self.keep = gr.Button("Keep the video", elem_id="sonic_history_keep")

    @property
    def shown_at_refresh(self) -> list[Any]:
        """What `refresh` changes."""
        return [self.ids, self.chosen, self.told, self.shelf, self.side, self.unusable_row, self.unusable]

    @property
    def _shown_at_choice(self) -> list[Any]:
        return [
            self.chosen, self.side, self.video, self.facts, self.gate, self.outcome, self.acting,
            self.asking, self.told,
        ]  # fmt: skip

    def _wire(self) -> None:
        folded = [self.acting, self.asking]
        every = list(dict.fromkeys([*self.shown_at_refresh, *self._shown_at_choice]))
        soon = compat.prompt()
        self.renew.click(self.refresh, self.earlier, self.shown_at_refresh, **soon)
        self.earlier.input(self.refresh, self.earlier, self.shown_at_refresh, **soon)
        self.shelf.select(self.choose, self.ids, self._shown_at_choice, **soon)
        exporting = [self.outcome, self.export, self.facts, self.gate, self.video]
        stated = [self.chosen, *self.consent.components]
        Relay(self.let_out, self.tab, exporting).at(self.export.click, stated, self.consent.script)
        self.delete.click(lambda: (gr.update(visible=False), gr.update(visible=True)), None, folded, **soon)
        self.keep.click(lambda: (gr.update(visible=True), gr.update(visible=False)), None, folded, **soon)
        self.sure.click(self.discard, [self.chosen, self.earlier], every, **soon)
        self.delete_unusable.click(self.discard, [self.unusable, self.earlier], every, **soon)

    def refresh(self, earlier: bool = False) -> Updates:
        """Look again; nothing is chosen then."""
        from ..provenance.store import Store

        closed = {self.chosen: "", self.side: gr.update(visible=False)}
        try:
            found, unusable = entries(Store(), None if earlier else self._since)
            pictures = [(thumbnail(entry.take), entry.caption) for entry in found]
            told = html.unusable(unusable) if found or unusable else _empty(self._host.configuration())
        except Exception as problem:
            found, unusable, pictures, told = [], [], [], html.error(as_error(problem))
        ids = [each.id for each in unusable]
        return closed | {
            self.ids: [entry.take.id for entry in found],
            self.told: told,
            self.shelf: gr.update(value=pictures, visible=bool(found)),
            self.unusable_row: gr.update(visible=bool(ids)),
            self.unusable: gr.update(choices=ids, value=ids[0] if ids else None),
        }

    def choose(self, event: SelectData, ids: Sequence[str]) -> Updates:
        """Play one, and offer what can be done with it."""
        number = int(event.index)
        return self._opened(ids[number]) if number < len(ids) else {self.outcome: ""}

    def _opened(self, take_id: str) -> Updates:
        try:
            entry = self._entry(take_id)
        except Exception as problem:
            return {self.told: html.error(as_error(problem)), self.side: gr.update(visible=False)}
        return self._told_of(entry) | {
            self.chosen: take_id,
            self.side: gr.update(visible=True),
            self.outcome: "",
            self.acting: gr.update(visible=True),
            self.asking: gr.update(visible=False),
        }

    def _entry(self, take_id: str) -> HistoryEntry:
        from ..provenance.store import Store

        if not take_id:
            raise BadInput("No video is chosen.", "Choose one on the left.")
        store = Store()
        take = store.load(take_id)
        exported = [record for record in store.ledger.records(take.id) if record.exported_at]
        return HistoryEntry(take, exported[-1] if exported else None)

    def _told_of(self, entry: HistoryEntry) -> Updates:
        """The stamped preview, or the exported file where there is one, and what it is."""
        file = exported_file(self._host, entry)
        shown = compat.served_copy(self.video, file) if file else preview_of(self.video, entry.take)
        return {
            self.video: shown,
            self.facts: html.take(entry.take, entry.record),
            self.gate: gr.update(visible=file is None),
        }

    def let_out(self, _: TabKey, take_id: str, *stated: Any) -> Generator[Updates, None, None]:
        """Pass the gate later than on the first tab."""
        yield {
            self.outcome: html.progress(Step(Stage.SIGNING, 0, 1)),
            self.export: gr.update(interactive=False),
        }
        try:
            entry = self._entry(take_id)
            exported = export_take(
                self._worker.queue,
                entry.take,
                Destination(self.consent.read(stated), folder=str(self._host.outputs())),
                self._host.configuration(),
            )
            said = f"Exported as {exported.path.name}."
            told = html.banner("good", said, f"Folder: {html.place(exported.path.parent)}")
            done = self._told_of(self._entry(take_id))
            done |= {self.outcome: told + html.warnings(exported.warnings)}
        except Exception as problem:
            done = {self.outcome: html.error(as_error(problem))}
        yield done | {self.export: gr.update(interactive=True)}

    def discard(self, take_id: str | None, earlier: bool) -> Updates:
        """Delete a take from the private folder."""
        from ..provenance.store import Store

        try:
            if not take_id:
                raise BadInput("No video is chosen.", "Choose one on the left.")
            Store().discard(take_id)
        except Exception as problem:
            return {self.outcome: html.error(as_error(problem))}
        return self.refresh(earlier)


def exported_file(host: Host, entry: HistoryEntry) -> Path | None:
    """The exported file, where it still lies in the host's folder."""
    if entry.record is None:
        return None
    path = host.outputs() / Path(entry.record.output_name).name
    return path if path.is_file() else None


def thumbnail(take: Take) -> Any:
    """The first frame of the stamped preview, a PIL image; grey where it cannot be read."""
    from PIL import Image

    from ..media import image
    from ..media.video import read_frames

    try:
        return image.thumbnail(next(read_frames(take.preview, 1)), SIDE)
    except BadVideo:
        return Image.new("RGB", (SIDE, SIDE * take.height // take.width), "grey")


def _empty(configuration: Configuration) -> str:
    kept = f"Videos wait here for their export, for {configuration.retention_text}."
    return html.banner("note", "Nothing has been made yet.", kept)

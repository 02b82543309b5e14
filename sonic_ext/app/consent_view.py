"""The consent ledger on the page: list, look, take back."""

from __future__ import annotations

from typing import Any

from ..errors import BadInput, SonicError
from ..provenance.ledger import Ledger
from ..provenance.revocation import revoke
from . import compat, html
from .compat import gr
from .latest import on_choice
from .tasks import Updates


class ConsentView:
    """The *Consent* tab."""

    def __init__(self) -> None:
        self.table = gr.HTML(elem_id="sonic_ledger")
        with gr.Row():
            self.chosen = gr.Dropdown([], label="Record", elem_id="sonic_record", scale=4, min_width=240)
            self.renew = gr.Button("Refresh", scale=1, min_width=110, elem_classes="sonic-beside")
        self.details = gr.HTML(elem_id="sonic_record_details")
        with gr.Row(visible=False) as self.acting:
            self.revoke = gr.Button("Revoke…", variant="stop", elem_id="sonic_revoke")
        with gr.Group(visible=False) as self.asking:
            gr.HTML(
                html.banner(
                    "warning",
                    "Revoke this consent?",
                    "The portrait can then not be exported again, under any record, and its videos are "
                    "deleted from the private folder. Exported files stay. This cannot be undone.",
                )
            )
            self.reason = gr.Textbox(label="Reason, kept in the ledger", max_lines=1)
            with gr.Row():
                self.sure = gr.Button("Yes, revoke", variant="stop", elem_id="sonic_revoke_sure")
                self.keep = gr.Button("Keep it", elem_id="sonic_revoke_keep")
        self._wire()

    @property
    def shown_at_refresh(self) -> list[Any]:
        """What `refresh` changes."""
        return [self.table, self.chosen, self.details, self.acting, self.asking]

    def _wire(self) -> None:
        folded = [self.acting, self.asking]
        soon = compat.prompt()
        self.renew.click(self.refresh, None, self.shown_at_refresh, **soon)
        on_choice(self.chosen.input, self.show, [self.chosen], [self.details, *folded])
        self.revoke.click(lambda: (_hidden(True), _hidden(False)), None, folded, **soon)
        self.keep.click(lambda: (_hidden(False), _hidden(True)), None, folded, **soon)
        self.sure.click(self.take_back, [self.chosen, self.reason], self.shown_at_refresh, **soon)

    def refresh(self) -> Updates:
        """The ledger as it stands; says so if it was altered."""
        closed = {self.details: "", self.acting: _hidden(True), self.asking: _hidden(True)}
        try:
            ledger = Ledger()
            ledger.check()
            records = ledger.records()[::-1]
        except SonicError as problem:
            return closed | {self.table: html.error(problem), self.chosen: gr.update(choices=[], value=None)}
        ids = [record.id for record in records]
        return closed | {self.table: html.records(records), self.chosen: gr.update(choices=ids, value=None)}

    def show(self, record_id: str | None) -> Updates:
        """One record in full."""
        try:
            record = Ledger().show(_given(record_id))
        except SonicError as problem:
            return {self.details: html.error(problem), self.acting: _hidden(True), self.asking: _hidden(True)}
        return {
            self.details: html.record(record),
            self.acting: _hidden(record.revoked_at is not None),
            self.asking: _hidden(True),
        }

    def take_back(self, record_id: str | None, reason: str) -> Updates:
        """Revoke, and show the ledger as it stands then."""
        try:
            done = revoke(_given(record_id), reason)
        except SonicError as problem:
            return {self.details: html.error(problem), self.asking: _hidden(True)}
        told = html.banner(
            "good",
            "Revoked.",
            f"Records of this portrait: {', '.join(done.records)}. "
            f"Videos deleted from the private folder: {len(done.takes)}.",
        )
        return self.refresh() | {self.details: told}


def _hidden(hidden: bool) -> Any:
    return gr.update(visible=not hidden)


def _given(record_id: str | None) -> str:
    if not record_id:
        raise BadInput("No record is chosen.", "Choose one in the list.")
    return record_id

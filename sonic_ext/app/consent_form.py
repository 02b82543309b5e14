"""The consent section of the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import BadInput, ConsentMissing
from ..provenance.consent import NOTICE, Basis, Consent
from . import compat
from .compat import gr

MEANINGS = {
    Basis.SELF: "My own",
    Basis.AUTHORISED: "The person agreed",
    Basis.SYNTHETIC: "Synthetic: nobody's",
    Basis.ESTATE: "The estate agreed",
}
"""Basis → what the user chooses."""
BY_MEANING = {meaning: str(basis) for basis, meaning in MEANINGS.items()}
TEXTS = ("purpose", "expires", "contact", "operator", "subject", "unlike_reason")
"""Fields of the consent that are text, in the order of their components."""
UPLOADING = """(...inputs) => {{
    const root = typeof gradioApp === "function" ? gradioApp() : document;
    const uploading = ({uploading})(root.querySelector("#{prefix}_evidence"));
    return [...inputs.slice(0, -2), uploading ? null : inputs.at(-2), uploading];
}}"""
"""JavaScript that replaces the last input by whether evidence, the one before, is on its way. If so, nothing
of it is sent, so that the answer need not wait for it."""


class ConsentForm:
    """Face and voice separately, and what the record keeps besides.

    Args:
        prefix: of the elements' ids; a page may hold several forms.
    """

    def __init__(self, prefix: str = "sonic_consent") -> None:
        self._prefix = prefix
        gr.HTML(f'<p class="sonic-notice">{NOTICE}</p>')
        with gr.Row():
            self.face = gr.Dropdown(list(BY_MEANING), label="The face is", elem_id=f"{prefix}_face")
            self.voice = gr.Dropdown(list(BY_MEANING), label="The voice is", elem_id=f"{prefix}_voice")
        with gr.Accordion("Kept with the record", open=False):
            self.purpose = gr.Textbox(label="Purpose", max_lines=1)
            with gr.Row():
                self.expires = gr.Textbox(label="Last day", placeholder="YYYY-MM-DD, or no end", max_lines=1)
                self.contact = gr.Textbox(label="Contact to take it back", max_lines=1)
            with gr.Row():
                self.operator = gr.Textbox(label="Who exports", max_lines=1)
                self.subject = gr.Textbox(label="Names of the persons", max_lines=1)
            self.unlike_reason = gr.Textbox(
                label="Where it is asked: why this is not the revoked portrait",
                max_lines=1,
                elem_id=f"{prefix}_unlike_reason",
            )
            self.evidence = compat.file_input(
                label="Evidence: only its hash is kept", height=110, elem_id=f"{prefix}_evidence"
            )
        self.uploading = gr.Checkbox(False, visible=False)
        self.stated = gr.Checkbox(label="I state that this is true.", elem_id=f"{prefix}_stated")

    @property
    def components(self) -> list[Any]:
        """Inputs for `read`, in its order."""
        return [
            self.stated, self.face, self.voice, self.purpose, self.expires, self.contact,
            self.operator, self.subject, self.unlike_reason, self.evidence, self.uploading,
        ]  # fmt: skip

    @property
    def script(self) -> str:
        """JavaScript for `Relay.at` where the inputs end with `components`."""
        return UPLOADING.format(prefix=self._prefix, uploading=compat.UPLOADING)

    def read(self, values: Sequence[Any]) -> Consent:
        """The consent as stated.

        Raises:
            ConsentMissing: the box is not ticked, or a basis is missing.
            BadInput: the evidence is not here yet, and the record would lack it.
            BadSetting: the last day is not a date.
        """
        stated, face, voice, *texts, evidence, uploading = values
        if not stated:
            raise ConsentMissing("The consent is not stated.", "Read the notice and tick the box by Export.")
        if uploading:
            raise BadInput("The evidence is still being uploaded.", "Press Export again when it is there.")
        return Consent.from_mapping(
            {
                "face": BY_MEANING.get(face or "", ""),
                "voice": BY_MEANING.get(voice or "", ""),
                **dict(zip(TEXTS, texts, strict=True)),
                "evidence": compat.path_of(evidence),
            }
        )

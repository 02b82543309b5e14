"""What a worker of a cluster runs where one video is drawn by many: it takes windows. No Ray in it.

It knows neither portrait nor speech nor ledger: latents, audio tokens and what the network is conditioned on
come encrypted, and latents go back. Nothing of it lies on a disk here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ...configuration import Configuration
from ...engines.registry import spec_of
from ...errors import Failed, SonicError, as_error, error_from, error_values
from ...settings import Settings
from ...weights import Search
from .fitness import Fingerprint, weight_hashes, weights_problem
from .sealing import seal, unseal

if TYPE_CHECKING:
    from ...ports import WindowTaker

RECIPE, ORDER, ANSWER, ERROR = "recipe", "order", "answer", "error"


class WindowDrawer:
    """Takes one window at a time.

    Args:
        key: that orders and answers are encrypted with.
        threads: of torch; 0 leaves it to torch.
    """

    def __init__(self, key: bytes, threads: int) -> None:
        self._key, self._threads = key, threads
        self._taker: WindowTaker | None = None
        self._drawing = self._began = 0.0

    def fingerprint(self) -> Fingerprint:
        """What this computer has to make videos with."""
        return Fingerprint.take()

    def standing(self) -> dict[str, Any]:
        """Seconds of processor: in windows, and of this process in all since it has its network."""
        return {"drawing": self._drawing, "process": time.process_time() - self._began}

    def numbers(self, engine: str, settings: Mapping[str, Any]) -> bytes:
        """What its windows depend on besides weights and settings; an answer."""
        return self._answered(lambda: self._numbers(engine, settings).encode())

    def begin(
        self, engine: str, settings: Mapping[str, Any], expected: Mapping[str, str], name: str, recipe: bytes
    ) -> bytes:
        """Load the network for a recipe; an empty answer.

        Args:
            expected: part → SHA-256 of the weights that the head has.
            name: of this computer, for the user.
            recipe: see `EngineSpec.window_worker`, encrypted.
        """
        return self._answered(lambda: self._begin(engine, settings, expected, name, recipe))

    def take(self, order: bytes) -> bytes:
        """A window; an answer."""
        return self._answered(lambda: self._taken(order))

    def _numbers(self, engine: str, settings: Mapping[str, Any]) -> str:
        told = spec_of(engine).window_numbers
        if told is None:
            raise Failed(f"The {engine} engine draws no windows.", "Leave --ray out.")
        return str(told(Settings.from_mapping(settings), self._threads))

    def _begin(
        self, engine: str, settings: Mapping[str, Any], expected: Mapping[str, str], name: str, recipe: bytes
    ) -> bytes:
        own = Settings.from_mapping(settings)
        search = Search.default(configuration=Configuration.from_environment())
        have = weight_hashes(engine, own, search)
        needed = {part: have[part] for part in expected if part in have}
        if problem := weights_problem(name, needed, expected):
            raise problem
        make = spec_of(engine).window_worker
        assert make is not None  # asked for its numbers before
        self._taker = make(unseal(self._key, recipe, RECIPE), own, search, lambda *_: None)
        self._drawing, self._began = 0.0, time.process_time()
        return b""

    def _taken(self, order: bytes) -> bytes:
        if self._taker is None:
            raise Failed("A window came before its recipe.", "Begin the video again.")
        given = unseal(self._key, order, ORDER)
        began = time.process_time()
        try:
            return self._taker.take(given)
        finally:
            self._drawing += time.process_time() - began

    def _answered(self, work: Callable[[], bytes]) -> bytes:
        """Encrypted: what came of it, or what went wrong."""
        try:
            return b"\0" + seal(self._key, work(), ANSWER)
        except Exception as problem:
            return b"\1" + seal(self._key, json.dumps(error_values(as_error(problem))).encode(), ERROR)


def opened(key: bytes, answer: bytes) -> bytes:
    """What a worker answered.

    Raises:
        SonicError: what went wrong there, or on the way.
    """
    if answer[:1] == b"\0":
        return unseal(key, answer[1:], ANSWER)
    found: SonicError = error_from(json.loads(unseal(key, answer[1:], ERROR)))
    raise found

"""Brings weights from the Hugging Face Hub, on request only: licence accepted, room checked, hash compared.

An interrupted download goes on where it stopped. Each file is pinned to the commit that the Hub named first,
and what it was and whose terms were accepted is recorded beside it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..configuration import MODELS_VARIABLE
from ..errors import BadInput, BadOutput, BadSetting, BadWeights, MissingPart
from ..files.atomic import move_into_place
from ..progress import Stage, Tick
from .catalogue import Licence, Part
from .find import make_folder
from .formats import Format, format_of, not_weights
from .preconditions import forbidden, no_httpx
from .record import ticking_sha256, write_record
from .servers import HUB, endpoint

LOOK_EVERY = 0.25
"""Seconds between two looks at how far a download is."""
PLAN_TIMEOUT = 40.0
"""Seconds for the Hub to name all files of a part."""
MARGIN = 64_000_000
"""Bytes that are left free on the disk."""
_WEIGHTS = (".pth", ".pt", ".pkl", ".bin", ".safetensors")


@dataclass(frozen=True)
class HubFile:
    """A file as the Hub describes it."""

    path: str
    """Inside the repository."""
    bytes: int | None
    etag: str
    """SHA-256 of large files, git's hash of small ones."""
    commit: str
    location: str
    url: str

    @property
    def sha256(self) -> str | None:
        """Known for large files."""
        return self.etag if re.fullmatch(r"[0-9a-f]{64}", self.etag) else None


@dataclass(frozen=True)
class Download:
    """One file to be fetched."""

    part: Part
    file: HubFile
    target: Path

    @property
    def unfinished(self) -> Path:
        """Where the bytes gather; named after the hash, so that another version does not go on in it."""
        return self.target.with_name(f".{self.target.name}.{self.file.etag[:12]}.part")

    @property
    def received(self) -> int:
        """Bytes fetched so far."""
        with contextlib.suppress(OSError):
            return self.unfinished.stat().st_size
        return 0


def licences(parts: Iterable[Part]) -> tuple[Licence, ...]:
    """The licences of the parts, each once."""
    return tuple(dict.fromkeys(part.licence for part in parts))


def licence_text(parts: Iterable[Part]) -> str:
    """What is accepted by fetching the parts, a paragraph for each licence."""
    parts = tuple(parts)
    paragraphs = []
    for licence in licences(parts):
        whose = ", ".join(part.title for part in parts if part.licence == licence)
        paragraphs.append(f"{whose}\n  {licence.name}: {licence.sentence}\n  {licence.url}")
    return "\n".join(paragraphs)


def fetch(
    parts: Iterable[Part],
    folder: Path,
    *,
    accept: bool,
    revision: str = "main",
    endpoint: str | None = None,
    tick: Tick | None = None,
) -> dict[str, Path]:
    """Bring the published files of the parts.

    Args:
        folder: the models folder that they go to, in the layout of their repositories.
        accept: the user has read and accepts the licences (`licence_text`).
        revision: branch, tag or commit.
        endpoint: another server like the Hub, which gets no token; None for the Hub or $HF_ENDPOINT.
        tick: told bytes; may stop the download, which the next call goes on with.

    Returns:
        The file with the weights, by the part's name.

    Raises:
        BadInput: the licences are not accepted.
        MissingPart: no connection, no access, no such file, or httpx is not installed.
        BadSetting: HF_ENDPOINT or a proxy of the environment is none.
        BadWeights: what came is not what the Hub announced.
        BadOutput: no room, or the folder cannot be written to.
        Cancelled: `tick` said so.
    """
    wanted = tuple(parts)
    if not accept:
        raise BadInput(
            "The licences have not been accepted: " + ", ".join(each.name for each in licences(wanted)) + ".",
            "Read them, then say so: --accept-licences",
        )
    hub = _Hub(revision, endpoint)
    downloads = [
        Download(part, file, folder / part.folders[0] / file.path)
        for part in wanted
        for file in hub.plan(part, tick)
    ]
    _require_space(folder, downloads)
    for download in downloads:
        _fetch_file(download, hub, tick)
    return {part.name: folder / part.folders[0] / part.hub_names[0] for part in wanted}


def _fetch_file(download: Download, hub: _Hub, tick: Tick | None) -> None:
    if _is_complete(download, tick):
        return
    if download.file.bytes is None:
        download.unfinished.unlink(missing_ok=True)  # whether it is whole could not be told
    total = max(1, download.file.bytes or 1)
    what = f"{download.part.name}: {download.target.name}"
    hub.get(
        download, lambda: tick(Stage.FETCHING, min(download.received, total), total, what) if tick else None
    )
    _check(download, tick)
    try:
        move_into_place(download.unfinished, download.target, overwrite=True)
        if download.target.suffix in _WEIGHTS:
            write_record(download.target, _record(download, hub))
    except OSError as error:
        raise _unwritable(download.target, error) from error


def _is_complete(download: Download, tick: Tick | None) -> bool:
    if not download.target.is_file() or download.target.stat().st_size != download.file.bytes:
        return False
    return download.file.sha256 is None or ticking_sha256(download.target, tick) == download.file.sha256


def _check(download: Download, tick: Tick | None) -> None:
    """Compare with what the Hub announced; what is wrong is thrown away, so that the next try starts anew."""
    if download.file.bytes is not None and download.received != download.file.bytes:
        raise MissingPart(
            f"{download.file.path} came only in part: "
            f"{download.received:,} of {download.file.bytes:,} bytes.",
            "Run the same command again; it goes on where it stopped.",
        )
    if download.file.sha256 and ticking_sha256(download.unfinished, tick) != download.file.sha256:
        download.unfinished.unlink()
        raise BadWeights(
            f"{download.file.path} arrived damaged: its SHA-256 is not the one that the Hub names.",
            "Run the same command again.",
        )
    found = format_of(download.unfinished)
    if found in (Format.WEB_PAGE, Format.LFS_POINTER, Format.EMPTY):
        download.unfinished.unlink()
        raise not_weights(download.target, found)


def _record(download: Download, hub: _Hub) -> dict[str, Any]:
    return {
        "repo": download.part.repos[0],
        "file": download.file.path,
        "commit": download.file.commit,
        "endpoint": endpoint(hub.endpoint),
        "bytes": download.file.bytes,
        "sha256": download.file.sha256 or ticking_sha256(download.target),
        "licence": download.part.licence.name,
        "licence_url": download.part.licence.url,
        "accepted": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _require_space(folder: Path, downloads: Iterable[Download]) -> None:
    todo = [
        download
        for download in downloads
        if not download.target.is_file() or download.target.stat().st_size != download.file.bytes
    ]
    count = sum(max(0, (download.file.bytes or 0) - download.received) for download in todo)
    try:
        make_folder(folder)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise _unwritable(folder, error) from error
    if free < count + MARGIN:
        raise BadOutput(
            f"{folder} has room for {free / 1e9:.1f} GB; {count / 1e9:.1f} GB are to be fetched.",
            f"Make room, or name another folder in {MODELS_VARIABLE}.",
        )


def _unwritable(path: Path, error: OSError) -> BadOutput:
    return BadOutput(
        f"{path} cannot be written: {error.strerror or error}.",
        f"Make room or give yourself access, or name another folder in {MODELS_VARIABLE}.",
    )


class _Hub:
    """The downloading process, one for each request."""

    def __init__(self, revision: str, endpoint: str | None) -> None:
        self.revision = revision
        self.endpoint = endpoint
        if find_spec("httpx") is None:
            raise no_httpx()

    def plan(self, part: Part, tick: Tick | None) -> list[HubFile]:
        """Ask the Hub about a part's files."""
        request = {"task": "plan", "repo": part.repos[0], "files": part.fetched, "revision": self.revision}

        def look() -> None:
            if tick is not None:
                tick(Stage.ASKING_FOR, 0, 1, part.name)

        answer = self._request(request, part, look, PLAN_TIMEOUT)
        return [HubFile(**row) for row in answer["files"]]

    def get(self, download: Download, poll: Any) -> None:
        """Bring the bytes of one file."""
        file = download.file
        request = {"task": "get", "part": str(download.unfinished), "bytes": file.bytes}
        self._request(request | {"location": file.location, "url": file.url}, download.part, poll, None)

    def _request(
        self, request: Mapping[str, Any], part: Part, poll: Any, limit: float | None
    ) -> dict[str, Any]:
        whole = {**request, "endpoint": self.endpoint, "anonymous": self.endpoint is not None}
        answer = _run(whole, poll, limit)
        if "error" in answer:
            raise _error(answer, part, endpoint(self.endpoint))
        return answer


def _run(request: Mapping[str, Any], poll: Any, limit: float | None) -> dict[str, Any]:
    """Run the downloading process, looking at it now and then; it ends when this does, however this ends."""
    words = [sys.executable, "-m", f"{__package__}.download"]
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment()
    )
    output: list[bytes] = [b"", b""]
    readers = [_reader(stream, output, slot) for slot, stream in enumerate((process.stdout, process.stderr))]
    try:
        if process.stdin:
            with contextlib.suppress(OSError):  # a process that has died already says why on stderr
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
        _wait(process, poll, limit)
    finally:
        process.kill()
        process.wait()
        for reader in readers:
            reader.join()
        if process.stdin:
            with contextlib.suppress(OSError):
                process.stdin.close()
    return _answer(output)


def _reader(stream: Any, output: list[bytes], slot: int) -> threading.Thread:
    def read() -> None:
        with stream:
            output[slot] = stream.read()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def _wait(process: subprocess.Popen[bytes], poll: Any, limit: float | None) -> None:
    waited = 0.0
    while True:
        try:
            process.wait(LOOK_EVERY)
            poll()
            return
        except subprocess.TimeoutExpired:
            waited += LOOK_EVERY
        poll()
        if limit is not None and waited > limit:
            raise MissingPart("The Hugging Face Hub does not answer.", OFFLINE_HINT)


def _answer(output: list[bytes]) -> dict[str, Any]:
    lines = output[0].decode(errors="replace").strip().splitlines()
    with contextlib.suppress(ValueError, IndexError):
        return dict(json.loads(lines[-1]))
    last = (output[1].decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
    return {
        "error": "failed",
        "status": None,
        "code": "",
        "message": f"the download ended early: {last}",
        "errno": None,
    }


def _environment() -> dict[str, str]:
    """Able to import this very package."""
    package = str(Path(__file__).parents[2])
    inherited = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (package, inherited)))}


OFFLINE_HINT = (
    "Check the connection and run the same command again, or copy the files from another computer into the "
    f"models folder ({MODELS_VARIABLE}); `sonic weights list --json` names them."
)


def _error(answer: Mapping[str, Any], part: Part, server: str) -> MissingPart | BadOutput | BadSetting:
    """What the Hub refused or what failed, as one of our errors with what to do.

    Args:
        server: that was asked, as `download.endpoint` has it.
    """
    status, code, repo = answer["status"], answer["code"], part.repos[0]
    page = f"{HUB}/{repo}"
    if status in (401, 403, 404) and server != HUB and not code:  # no server that knows the Hub's words
        return MissingPart(
            f"{server}, which is asked in the place of the Hub, answers {status} to {answer['url']}.",
            "Name another server (HF_ENDPOINT, --endpoint), or none to ask the Hub itself.",
        )
    if code == "GatedRepo" or status == 403:
        return MissingPart(
            f"{repo} gives its files only to those who accepted its terms there.",
            f"Sign in at {page}, accept the terms, then sign in here with `hf auth login` (or set HF_TOKEN) "
            f"and run the same command again.{_single_file_hint(part)}",
        )
    if code == "RepoNotFound" or status == 401:
        return MissingPart(
            f"{repo} is not there, or not for you.",
            f"Look at {page}; sign in with `hf auth login` (or set HF_TOKEN).{_single_file_hint(part)}",
        )
    if code in ("RevisionNotFound", "EntryNotFound") or status == 404:
        return MissingPart(
            f"{repo} no longer has the file, or not in that revision ({answer['message']}).",
            f"Look at {page} and name a revision that has it: --revision",
        )
    if answer["errno"] in _DISK:
        return BadOutput(f"The file cannot be written: {answer['message']}.", "Make room, or give access.")
    return _not_asked(answer) or MissingPart(
        f"The Hugging Face Hub cannot be reached ({answer['message'].rstrip('.')}).", OFFLINE_HINT
    )


def _not_asked(answer: Mapping[str, Any]) -> MissingPart | BadSetting | None:
    """What keeps from asking any server."""
    again, named = "then run the same command again.", answer["message"]
    errors: dict[str, MissingPart | BadSetting] = {
        "offline": forbidden(),
        "address": BadSetting(
            f"{named} in the place of the Hub is no address of the web.",
            "Write HF_ENDPOINT as in https://hub.example.com, or unset it.",
        ),
        "proxy": BadSetting(
            f"The environment names a proxy that cannot be used: {named}.",
            f"Write it as in HTTPS_PROXY=http://proxy.example.com:8080, {again}",
        ),
        "socks": MissingPart(
            f"The environment names a SOCKS proxy ({named}), and socksio, which speaks with one, is not "
            "installed.",
            "Bring it with: python -m pip install socksio",
        ),
    }
    return errors.get(answer["error"])


_DISK = (13, 28, 30, 122)
"""errno: no access, no room, read-only, over quota."""


def _single_file_hint(part: Part) -> str:
    if not part.single_file:
        return ""
    return " A svd_xt.safetensors or svd_xt_1_1.safetensors among the WebUI's checkpoints serves as well."

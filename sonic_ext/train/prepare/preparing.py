"""A corpus becomes shards of clips, by several processes, and goes on wherever it was stopped.

The videos stand in groups, which depend on nothing but their names; each group is an order for a process and
becomes one shard. A shard is there whole or not at all, is called after its videos and says which they are.
So what is left to do is what no shard stands for, and two processes that make the same shard make the same
file.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from ...errors import BadInput, BadOutput, Busy, Cancelled, SonicError
from ...files.atomic import remove_temporaries, replace_file
from ...files.locks import wait_for_lock
from ...processes import Alive, Workers, cores
from ...progress import Progress, Silent, Stage, Ticker
from ..clips import PATTERN, Clip, ClipRemark, ShardContents, is_whole, read_contents, write_shard
from .examining import FAILED, examine
from .layouts import source_of, video_names

MOST_VIDEOS, GROUPS, MOST_BYTES = 32, 64, 256 << 20
"""Videos of a shard, at most; groups that a small corpus is in; bytes of video after which a group is
full."""
ORIGIN, LIST, LOCK = "corpus.json", "skipped.csv", "prepare"
"""Beside the shards: whose clips they are; what was left out and why; held while somebody writes."""
COLUMNS = ("video", "kept", "reason", "detail")
"""Of `LIST`."""
PATIENCE = 120.0
"""Seconds without a sign of life after which a process is ended: a decoder hangs. Frames are signs."""
WAIT = 2.0
"""Seconds that another command's lock is waited for."""
ADVICE = "Make room or choose another folder (-o); the same command goes on where it was."


@dataclass
class PreparedCorpus:
    """What a folder of clips holds."""

    folder: Path
    videos: int = 0
    """That were looked at."""
    clips: int = 0
    seconds: float = 0.0
    """Of all clips."""
    speakers: set[str] = field(default_factory=set)
    remarks: list[ClipRemark] = field(default_factory=list)
    """Of videos that were left out, or were kept with something missing."""

    def add(self, shard: ShardContents) -> None:
        """Count what a shard holds."""
        self.videos += len(shard.videos)
        self.clips += len(shard.clips)
        self.seconds += sum(seconds for _, _, seconds in shard.clips)
        self.speakers |= {speaker for _, speaker, _ in shard.clips}
        self.remarks += shard.remarks

    def reasons(self, kept: bool) -> dict[str, int]:
        """How often each reason was given, for leaving a video out or, `kept`, beside its clips."""
        return dict(Counter(each.reason for each in self.remarks if each.kept == kept).most_common())

    def values(self) -> dict[str, Any]:
        """As JSON can say it."""
        return {
            "folder": str(self.folder),
            "videos": self.videos,
            "clips": self.clips,
            "seconds": round(self.seconds, 2),
            "speakers": len(self.speakers),
            "skipped": self.reasons(kept=False),
            "noted": self.reasons(kept=True),
        }


def prepare(
    folder: Path, output: Path, jobs: int = 0, offset_of: str = "", progress: Progress | None = None
) -> PreparedCorpus:
    """Make the clips of every video below a folder that no shard in `output` stands for yet.

    Args:
        folder: of the corpus.
        output: where shards and list go; made if it is not there. It may lie in `folder`.
        jobs: processes; 0 takes one for each core.
        offset_of: `module:name` of an `examining.OffsetOf`, loaded in each process: leaves out videos whose
            mouth and voice are apart. "" leaves out none.
        progress: told of each group; asked whether to stop.

    Raises:
        BadInput: no folder, no videos, or `output` holds clips of another folder or another choice.
        BadOutput: it cannot be written to; the disk is full.
        Busy: another command writes there.
        Cancelled: asked to stop; the list tells how far it came, and the next call goes on.
    """
    names = video_names(folder, leave=output)
    progress = progress or Silent()
    _make_folder(folder, output)
    with _locked(output):
        _require_origin(folder, output, offset_of)
        _remove_parts(output)
        _remove_failed(output)
        done = {name for shard in _shards(output) for name in shard.videos}
        parts = ([name for name in group if name not in done] for group in grouped(folder, names))
        orders = [ShardOrder(str(folder), str(output), tuple(part), offset_of) for part in parts if part]
        stopped: Cancelled | None = None
        try:
            _make(orders, jobs or cores(), progress)
        except Cancelled as asked:
            stopped = asked
        finally:
            _remove_parts(output)
        found = PreparedCorpus(output)
        for shard in _shards(output):
            found.add(shard)
        _write_list(found)
        if stopped is not None:
            raise stopped
    return found


def grouped(folder: Path, names: Sequence[str]) -> Iterator[list[str]]:
    """The videos in groups that become a shard each; the same for the same videos."""
    most = min(MOST_VIDEOS, max(1, len(names) // GROUPS))
    group: list[str] = []
    size = 0
    for name in names:
        group.append(name)
        with contextlib.suppress(OSError):  # whoever reads it says what is wrong
            size += (folder / name).stat().st_size
        if len(group) >= most or size >= MOST_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


@dataclass(frozen=True)
class ShardOrder:
    """What a process is told to make."""

    folder: str
    output: str
    names: tuple[str, ...]
    """Of the videos."""
    offset_of: str = ""

    @property
    def path(self) -> Path:
        """The shard: it is called after its videos."""
        digest = hashlib.sha256("\n".join(self.names).encode(errors="surrogatepass")).hexdigest()
        return Path(self.output) / PATTERN.replace("*", digest[:16])

    def alone(self) -> list[ShardOrder]:
        """One order for each of its videos."""
        return [replace(self, names=(name,)) for name in self.names]

    def write(self, clips: Sequence[Clip], remarks: Sequence[ClipRemark]) -> None:
        """Write the shard.

        Raises:
            BadOutput: it cannot be written.
        """
        try:
            write_shard(self.path, clips, self.names, remarks)
        except OSError as error:
            reason = error.strerror or error
            raise BadOutput(f"{self.path.name} cannot be written: {reason}.", ADVICE) from error


def make_shard(values: dict[str, Any], alive: Alive) -> str:
    """Carry out a `ShardOrder`; the name of the shard.

    Raises:
        BadOutput: it cannot be written.
    """
    order = ShardOrder(**values | {"names": tuple(values["names"])})
    offset_of = _function(order.offset_of)
    clips: list[Clip] = []
    remarks: list[ClipRemark] = []
    for name in order.names:
        source = source_of(Path(order.folder), name)
        made, said = examine(source, lambda *_: alive(), offset_of)
        clips += made
        remarks += said
    order.write(clips, remarks)
    return order.path.name


def _make(orders: list[ShardOrder], jobs: int, progress: Progress) -> None:
    """Have every shard made; what kills its process or breaks it is tried alone, then left out."""
    tick, total, done = Ticker(progress), sum(len(order.names) for order in orders), 0
    while orders:
        tick(Stage.PREPARING_CLIPS, done, total)
        failed: list[ShardOrder] = []
        with Workers(f"{__name__}:make_shard", min(jobs, len(orders)), patience=PATIENCE) as workers:
            for number, answer in workers.answers([vars(order) for order in orders], progress.cancelled):
                order = orders[number]
                if isinstance(answer, (BadOutput, Cancelled)):
                    raise answer
                if isinstance(answer, SonicError) and len(order.names) > 1:
                    failed += order.alone()
                    continue
                if isinstance(answer, SonicError):
                    order.write([], [ClipRemark(order.names[0], False, FAILED, answer.message)])
                done += len(order.names)
                tick(Stage.PREPARING_CLIPS, done, total)
        orders = failed


def _function(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute) if name else None


# The folder of the clips


def _make_folder(folder: Path, output: Path) -> None:
    if output.resolve() == folder.resolve():
        raise BadInput("The clips cannot go into the folder of the videos.", "Give another one with -o.")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise BadOutput(f"{output} is a file.", "Give a folder with -o.") from None
    except OSError as error:
        raise BadOutput(f"{output} cannot be made: {error.strerror or error}.", ADVICE) from error


@contextlib.contextmanager
def _locked(output: Path) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            mine = stack.enter_context(wait_for_lock(output / LOCK, WAIT))
        except OSError as error:
            raise BadOutput(f"{output} cannot be written to: {error.strerror or error}.", ADVICE) from error
        if not mine:
            raise Busy(f"Another command prepares clips in {output}.", "Wait for it, or take another folder.")
        yield


def _require_origin(folder: Path, output: Path, offset_of: str) -> None:
    """Note whose clips go here and how they were chosen; refuse a folder that holds those of another corpus,
    of names that may be the same, or of another choice, which would be mixed."""
    path, ours = output / ORIGIN, {"folder": str(folder.resolve()), "offset_of": offset_of}
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        _replace(path, json.dumps(ours).encode())
        return
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read ({error}).", "Choose another folder with -o.") from error
    if not isinstance(there, dict) or there.get("folder") != ours["folder"]:
        raise BadInput(f"{output} holds clips of another folder.", "Choose another one with -o.")
    if there != ours:
        made = "with" if there.get("offset_of") else "without"
        raise BadInput(
            f"{output} holds clips that were made {made} --in-sync.",
            "Do the same to go on, or choose another folder with -o.",
        )


def _remove_parts(output: Path) -> None:
    """What killed processes left half-written."""
    for left in {each.name[1:].rpartition(".")[0] for each in output.glob(f".{PATTERN}.*")}:
        remove_temporaries(output / left)


def _shards(output: Path) -> Iterator[ShardContents]:
    """What is done. A shard that is cut off is removed, to be made again, as is one whose videos another has.

    Raises:
        BadInput: one was made by another version.
    """
    seen: set[str] = set()
    for path in sorted(output.glob(PATTERN)):
        found = read_contents(path) if is_whole(path) else None
        if found is not None and seen.isdisjoint(found.videos):
            seen.update(found.videos)
            yield found
        else:
            path.unlink()


def _remove_failed(output: Path) -> None:
    """Shards that stand for a video which could not be examined: it is tried again."""
    for shard in [*_shards(output)]:
        if any(remark.reason == FAILED for remark in shard.remarks):
            shard.path.unlink()


def _write_list(found: PreparedCorpus) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for each in sorted(found.remarks):
        table.writerow((each.name, "yes" if each.kept else "no", each.reason, each.detail))
    _replace(found.folder / LIST, text.getvalue().encode(errors="surrogateescape"))


def _replace(path: Path, data: bytes) -> None:
    try:
        replace_file(path, data)
    except OSError as error:
        raise BadOutput(f"{path.name} cannot be written: {error.strerror or error}.", ADVICE) from error

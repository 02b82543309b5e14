"""Nothing that is written while a video is made and exported is a playable unmarked video, for no moment."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from sonic_ext import Consent, animate, export
from sonic_ext.media.video import VideoWriter, probe, read_planes
from sonic_ext.progress import Silent, Step
from sonic_ext.provenance import metadata
from sonic_ext.provenance.store import Store
from sonic_ext.provenance.watermark import detect
from sonic_ext.sync.calibration import Calibration
from sonic_ext.sync.offset import Estimate

MEDIA = Path(__file__).parent / "data" / "media"
PORTRAIT, SPEECH = MEDIA / "portrait_02.jpg", MEDIA / "short_en_flite_rms_2s3.wav"
BEFORE = ("os.rename", "os.link", "os.remove", "os.rmdir", "shutil.rmtree", "shutil.copyfile")
"""Events of Python after which a file may be gone, or be there under another name."""


class Watch(Silent):
    """Keeps a copy of every state that a file under some folders is seen in.

    It looks before anything is renamed or removed, and at every step of the progress.
    """

    def __init__(self, folders: list[Path], kept: Path) -> None:
        self.found: dict[str, list[str]] = {}
        """SHA-256 of each different content, and the names that it had."""
        self._folders, self._kept, self._known = folders, kept, set[tuple[str, int, int]]()
        self._on = self._busy = False

    def report(self, step: Step) -> None:
        """At every step."""
        self.look()

    def event(self, name: str, _: object) -> None:
        """An audit hook; see `sys.addaudithook`."""
        if self._on and not self._busy and name in BEFORE:
            self.look()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Hooks cannot be taken off, so this one can be shut off."""
        sys.addaudithook(self.event)
        self._on = True
        try:
            yield
            self.look()
        finally:
            self._on = False

    def look(self) -> None:
        """Keep what is new."""
        self._busy = True
        try:
            for path in (path for folder in self._folders for path in folder.rglob("*")):
                self._keep(path)
        finally:
            self._busy = False

    def _keep(self, path: Path) -> None:
        try:
            state = path.stat()
            key = str(path), state.st_size, state.st_mtime_ns
            if not path.is_file() or key in self._known:
                return
            content = path.read_bytes()
        except FileNotFoundError:
            return  # it went away under the name that it was listed with
        self._known.add(key)
        digest = hashlib.sha256(content).hexdigest()
        self.found.setdefault(digest, []).append(path.name)
        (self._kept / digest).write_bytes(content)

    def videos(self) -> Iterator[tuple[Path, list[str]]]:
        """Whatever plays, and the names that it was seen under."""
        for digest, names in self.found.items():
            if plays(self._kept / digest):
                yield self._kept / digest, names


def plays(path: Path) -> bool:
    """Whether FFmpeg gets a moving picture out of a file, whatever its name."""
    try:
        with av.open(str(path)) as container:
            return len(list(islice(container.decode(video=0), 2))) == 2
    except (av.error.FFmpegError, IndexError, OSError):
        return False


def problems(path: Path, take_id: str) -> list[str]:
    """What a video lacks: the tags that name the take, and the take's watermark in its pixels."""
    info = probe(path)
    tag = info.metadata.get(metadata.AIGC_KEY, "{}")
    mark = detect(read_planes(path), info.fps)
    lacks = {
        "AIGC": metadata.read_aigc(tag).take != take_id,
        "comment": "Sonic version:" not in info.metadata.get(metadata.COMMENT_KEY, ""),
        "watermark": mark is None or f"{mark.payload:016x}" != take_id,
    }
    return [name for name, missing in lacks.items() if missing]


@pytest.fixture
def watch(tmp_path: Path, sonic_home: Path, monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Of the private home, the folder for temporary files and the one that is exported to."""
    watched, kept = [tmp_path / "temporary", tmp_path / "outputs"], tmp_path / "kept"
    for folder in (*watched, kept):
        folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(watched[0]))
    return Watch([*watched, sonic_home], kept)


def test_every_video_that_ever_lay_there_is_marked(
    watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a label that is off, and sound that has to be moved afterwards: the most that can go wrong."""
    monkeypatch.setattr(Calibration, "offset", lambda _: Estimate(0.04, 0.9))
    asked = {"min_resolution": 256, "seed": 7, "label": "off", "label_off_reason": "told in the credits"}
    target = tmp_path / "outputs" / "hello.mp4"
    with watch.watching():
        take = animate(PORTRAIT, SPEECH, asked, progress=watch, store=Store())
        export(take, target, Consent(face="synthetic", voice="synthetic"))
        shutil.copyfile(take.preview, tmp_path / "temporary" / "served.mp4")
    videos = dict(watch.videos())
    lacking = [(names, problems(path, take.id)) for path, names in videos.items()]
    assert [each for each in lacking if each[1]] == []
    names = {name for names in videos.values() for name in names}
    assert {"master.mp4", "preview.mp4", "marked.mp4", "signed.mp4", "hello.mp4", "served.mp4"} <= names
    for name in ("master.mp4", "preview.mp4"):  # before and after their sound was moved
        assert sum(name in each for each in videos.values()) >= 2, videos
    # with marked and signed
    assert len(videos) >= 6
    assert any(name.startswith(".") and ".part" in name for name in names)


def test_master_and_preview_have_their_tags_in_the_private_folder(watch: Watch) -> None:
    take = animate(PORTRAIT, SPEECH, {"min_resolution": 256, "seed": 7}, store=Store())
    for path in (take.master, take.preview):
        assert probe(path).metadata[metadata.AIGC_KEY] == metadata.aigc_label(take.id)
        assert metadata.read_source_type(path) == metadata.COMPOSITE
    comments = [probe(path).metadata[metadata.COMMENT_KEY] for path in (take.master, take.preview)]
    assert "Sonic seed: 7" in comments[0] and "Sonic preview" not in comments[0]
    assert comments[1] == f"{comments[0]}, Sonic preview: yes"


def test_the_frames_that_a_webui_shows_are_marked(watch: Watch) -> None:
    """They are those of the preview: stamp, label, watermark."""

    class Shown(Silent):
        def __init__(self) -> None:
            self.frames: list[Any] = []

        def show(self, picture: np.ndarray) -> None:
            self.frames.append(picture.copy())

    shown = Shown()
    take = animate(PORTRAIT, SPEECH, {"min_resolution": 256, "seed": 7}, progress=shown, store=Store())
    found = detect((cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420) for frame in shown.frames), 25)
    assert found is not None
    assert f"{found.payload:016x}" == take.id


def test_the_watch_sees_an_unmarked_video(watch: Watch, tmp_path: Path) -> None:
    """Also one that lies there for a moment only, under a name that tells nothing."""
    hidden = tmp_path / "temporary" / "x.bin"
    with watch.watching():
        with VideoWriter(tmp_path / "temporary" / "x.mp4", 64, 64, 25) as writer:
            for level in range(60):
                writer.write(np.full((96, 64), level, np.uint8))
        (tmp_path / "temporary" / "x.mp4").rename(hidden)
        hidden.unlink()
    ((path, names),) = watch.videos()
    assert "x.bin" in names and "x.mp4" in names
    assert problems(path, "0123456789abcdef") == ["AIGC", "comment", "watermark"]

"""Our networks, geometry and sampler against recorded numbers of the published inference.

Runs any folder of the form that `data/parity/README.md` describes: `--parity-dir DIR`. Kinds that a folder
lacks are skipped; so is all that needs torch, diffusers and transformers where they are not installed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonic_ext.engines.sonic.windows import Counts, resampled
from sonic_ext.media import yoloface
from sonic_ext.media.geometry import Box, crop_square, mask_box, video_size

USUAL = Path(__file__).parent / "data" / "parity"
MEL = 5e-5
"""Of the spectrogram: recorded with a float32 FFT, itself 2e-5 from the exact one in its quietest cells."""
pytestmark = pytest.mark.filterwarnings(
    "default::DeprecationWarning", "default::FutureWarning", "default::UserWarning"
)
"""Releases of diffusers and transformers warn of each other; that is not ours to fail over."""


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern))


def _cases(folder: Path, pattern: str) -> Iterator[tuple[str, Any]]:
    """Every case of lists in JSON files, with a name."""
    for path in _files(folder, pattern):
        for number, case in enumerate(json.loads(path.read_text(encoding="utf-8"))):
            yield f"{path.stem}-{number}", case


LISTS = {
    "box_case": "a_*.json",
    "size_case": "b_resize*.json",
    "count_case": "j_*.json",
    "detector_case": "l_*.json",
}
"""Argument of a test → files that hold lists of cases."""
FILES = {
    "preprocess_meta": "b_*_meta.json",
    "audio_meta": "c_*_meta.json",
    "long_file": "c_audio_*.safetensors",
    "attention_meta": "d_*_meta.json",
    "block_meta": "e_*_meta.json",
    "unet_meta": "f_*_meta.json",
    "loop_meta": "g_*_meta.json",
    "loop_file": "g_loop_*.safetensors",
    "reference_file": "g_ref*.safetensors",
    "vae_meta": "h_*_meta.json",
    "rife_file": "i_*.safetensors",
    "whole_meta": "k_*_meta.json",
    "manifest": "manifest_*.json",
}
"""Argument of a test → files, one test each."""


def _paths(folder: Path, name: str) -> list[Path]:
    """The files for an argument of a test."""
    found = [path for path in _files(folder, FILES[name]) if path.stem != "manifest_summary"]
    if name == "long_file":  # the other kind has words of its own
        stems = ((path, path.stem.removesuffix("_tensors")) for path in found)
        found = [path for path, stem in stems if not path.with_name(f"{stem}_meta.json").exists()]
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per case found in the folder."""
    folder: Path = metafunc.config.getoption("--parity-dir")
    for name in metafunc.fixturenames:
        if name in LISTS:
            found = list(_cases(folder, LISTS[name]))
            metafunc.parametrize(name, [case for _, case in found], ids=[title for title, _ in found])
        elif name in FILES:
            paths = _paths(folder, name)
            metafunc.parametrize(name, paths, ids=[path.stem for path in paths])


@pytest.fixture(scope="session")
def folder(request: pytest.FixtureRequest) -> Path:
    """The recorded numbers."""
    path: Path = request.config.getoption("--parity-dir")
    return path


@pytest.fixture(scope="module")  # what it sets for torch must not outlive this file
def numbers(folder: Path) -> Iterator[Any]:
    """The folder with its networks; skips where torch is not installed."""
    for library in ("torch", "diffusers", "transformers"):
        pytest.importorskip(library, reason=f"{library} is an optional part, and not installed")
    import torch
    from parity_numbers import Numbers

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny networks; more threads only wait for each other
    with torch.inference_mode():
        yield Numbers(folder, USUAL)
    torch.set_num_threads(threads)


@pytest.fixture
def near(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Asserts that tensors agree, and records the largest difference."""

    def check(got: Any, want: Any, within: float = 1e-5, what: str = "") -> None:
        assert tuple(got.shape) == tuple(want.shape), what
        error = float((got.double() - want.double()).abs().max())
        record_property(f"error {what}".strip(), error)
        assert error <= within, f"{what}: off by {error:.3g}, {within:.3g} is allowed"

    return check


@pytest.fixture
def agree(near: Callable[..., None]) -> Callable[[Iterator[Any]], None]:
    """Asserts that every check of a case agrees, and that there are some."""

    def check(checks: Iterator[Any]) -> None:
        found = 0
        for found, each in enumerate(checks, 1):  # noqa: B007
            near(each.got, each.want, each.within, each.what)
        assert found

    return check


def _meta(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


# a_, b_, j_, l_: geometry, counts, detector


def _face(case: dict[str, Any]) -> Box:
    x, y, width, height = case["det_xywh"]
    return Box(x, y, x + width, y + height)


def test_crop_and_mask_box(box_case: dict[str, Any]) -> None:
    face, width, height = _face(box_case), box_case["w"], box_case["h"]
    assert list(crop_square(face, box_case["expand_ratio"], width, height)) == box_case["crop_xyxy"]
    box = mask_box(face, width, height, box_case["mask_area"])
    assert box == (tuple(box_case["mask_box_xyxy"]) if box_case["mask_box_xyxy"] else None)
    assert (box_case["resized_mask_sum"] == 0) == (box is None)


def test_drawn_mask(box_case: dict[str, Any], numbers: Any) -> None:
    from sonic_ext.engines.sonic.picture import draw_mask, mask_values

    box = mask_box(_face(box_case), box_case["w"], box_case["h"], box_case["mask_area"])
    size = tuple(box_case["resized_wh"])
    assert size == video_size(box_case["w"], box_case["h"], min(size), 64)
    mask = mask_values(draw_mask(box, (box_case["w"], box_case["h"]), size))
    assert float(mask.double().sum()) == pytest.approx(box_case["resized_mask_sum"], rel=1e-6)
    assert float(mask.min()) == box_case["resized_mask_min"]
    assert float(mask.max()) == box_case["resized_mask_max"]


def test_video_size(size_case: dict[str, int]) -> None:
    size = video_size(size_case["w"], size_case["h"], size_case["min_resolution"], 64)
    assert size == (size_case["new_w"], size_case["new_h"])


def test_counts(count_case: dict[str, Any]) -> None:
    samples = resampled(count_case["samples"], count_case["sample_rate"])
    counts = Counts.of(samples)
    assert samples == count_case["samples_16k"]
    assert (counts.audio, counts.mels) == (count_case["audio_len"], count_case["mel_frames"])
    assert (counts.base, counts.full) == (count_case["frames"], count_case["rife_frames"])
    assert counts.base / count_case["fps"] == pytest.approx(count_case["duration_s"], abs=1e-9)
    assert counts.full / count_case["rife_fps"] == pytest.approx(count_case["rife_duration_s"], abs=1e-9)


def test_detector(detector_case: dict[str, Any]) -> None:
    height, width = detector_case["image_hw"]
    rows, columns = yoloface.input_size(height, width)
    assert [1, 3, rows, columns] == detector_case["net_input"]
    assert [list(grid.shape) for grid in yoloface.grids(rows, columns)] == detector_case["grids"]
    found = yoloface.faces(np.array(detector_case["pred"], np.float32), height, width)
    boxes = [(face.box.left, face.box.top, face.box.width, face.box.height) for face in found]
    assert np.array(boxes) == pytest.approx(np.array(detector_case["boxes_xywh"]), rel=1e-5, abs=1e-3)
    assert [face.score for face in found] == pytest.approx(detector_case["scores"], abs=1e-5)
    assert yoloface.largest(found) == found[detector_case["maxface_true_largest_index"]].box


def test_preprocessing(preprocess_meta: Path, numbers: Any, near: Callable[..., None]) -> None:
    import torch
    from parity_cases import CLOSE, HALF, beside
    from PIL import Image

    from sonic_ext.engines.sonic.picture import clip_pixels, draw_mask, reference, resized
    from sonic_ext.nn.clip import embed

    meta, want = _meta(preprocess_meta), numbers.tensors(beside(preprocess_meta))
    picture = np.asarray(Image.open(preprocess_meta.parent / meta["image"]).convert("RGB"))
    height, width = picture.shape[:2]
    size = video_size(width, height, meta["min_resolution"], 64)
    assert [3, size[1], size[0]] == meta["ref_shape"]
    box = mask_box(_face(meta), width, height, meta["mask_area"])
    assert box is not None and list(box) == meta["mask_box_xyxy"]
    mask = torch.from_numpy(draw_mask(box, (width, height), size).copy())
    assert torch.equal(mask[None], want["face_mask_u8"])
    small = resized(picture, *size)
    as_bytes = torch.from_numpy(small.copy()).permute(2, 0, 1)
    assert torch.equal(as_bytes, want["ref_img_u8"])
    near(reference(small)[0], want["ref_img_u8"].float() / 255 * 2 - 1, what="reference")
    pixels = clip_pixels(small)
    near(pixels[0], want["clip_images"], HALF * float(pixels.abs().max()) + CLOSE, "CLIP pixels")
    near(embed(numbers.clip, pixels), want["clip_embeds"], what="CLIP embedding")


# c_: speech


def test_speech(
    audio_meta: Path, numbers: Any, near: Callable[..., None], agree: Callable[..., None]
) -> None:
    from parity_cases import beside, listening

    from sonic_ext.engines.sonic import speech

    if _only_long(audio_meta):
        pytest.skip("no speech recorded but long sound")
    meta, want = _meta(audio_meta), numbers.tensors(beside(audio_meta))
    samples = numbers.wav(meta["wav"])[: meta["samples"]]
    counts = Counts.of(len(samples))
    assert (counts.audio, counts.base) == (meta["audio_len"], meta["frames"])
    mels = [speech.log_mel(chunk) for chunk in speech.chunked([samples])]
    assert [1, 80, sum(mel.shape[-1] for mel in mels)] == meta["mel_shape"]
    _spectrogram(mels[0][0], want, near)
    states = speech.whisper_states(numbers.whisper, speech.chunked([samples]), 2 * counts.audio)
    _windows(states, counts.base, want, near)
    agree(listening(numbers, audio_meta))


def _only_long(meta: Path) -> bool:
    """Whether the words are there for the sound of `test_long_windows` alone."""
    tensors = meta.with_name(meta.name.replace("_meta.json", ".safetensors"))
    return not tensors.exists() and bool(_paths(meta.parent, "long_file"))


def _spectrogram(mel: Any, want: dict[str, Any], near: Callable[..., None]) -> None:
    import torch

    for key in want:
        if found := re.fullmatch(r"mel_first_(\d+)", key):
            first = int(found[1])
            near(mel[:, :first], want[key], MEL, "spectrogram")
            if "mel_tail_value" in want:
                tail = mel[:, first:]
                near(tail, torch.full_like(tail, float(want["mel_tail_value"])), MEL, "its tail")


def _windows(states: Any, frames: int, want: dict[str, Any], near: Callable[..., None]) -> None:
    from sonic_ext.engines.sonic.conditioning import bucket_windows, token_windows

    tokens, last = token_windows(states, frames), bucket_windows(states[:, -1], frames)[:, :, 0]
    for key in want:
        if found := re.fullmatch(r"(bucket_)?window_(\d+)", key):
            near((last if found[1] else tokens)[int(found[2])], want[key], what=key)
    for windows, key in ((tokens, "padded_states"), (last, "padded_last")):
        layout = want[key].unfold(0, windows.shape[1], 4).movedim(-1, 1)
        near(windows, layout, what=key)


def test_long_speech(audio_meta: Path, numbers: Any) -> None:
    from parity_numbers import chirp

    from sonic_ext.engines.sonic import speech

    meta = _meta(audio_meta)
    if "long_wav" not in meta:
        pytest.skip("no long speech recorded")
    samples = chirp(meta["long_wav"])
    counts = Counts.of(len(samples))
    assert (counts.audio, counts.base) == (meta["long_audio_len"], meta["long_frames"])
    assert [1, 80, counts.mels] == meta["long_mel_shape"]
    states = speech.whisper_states(numbers.whisper, speech.chunked([samples]), 2 * counts.audio)
    assert len(states) == 2 * counts.audio


def test_long_windows(long_file: Path, numbers: Any, agree: Callable[..., None]) -> None:
    from parity_cases import long_speech

    agree(long_speech(numbers, long_file))


def test_short_speech(audio_meta: Path, numbers: Any, near: Callable[..., None]) -> None:
    import torch
    from parity_cases import CLOSE
    from parity_numbers import chirp, described

    from sonic_ext.engines.sonic import speech
    from sonic_ext.nn.clip import embed

    meta = _meta(audio_meta)
    if "short_audio" not in meta:
        pytest.skip("no short speech recorded")
    whole = chirp(meta["long_wav"])  # the numbers tell: not the recording
    networks = speech.SpeechNetworks(numbers.whisper, numbers.audio2token, numbers.audio2bucket)
    portrait = embed(numbers.clip, described(meta["clip_images"])[None])
    for case in meta["short_audio"]:
        counts = Counts.of(case["samples"])
        assert counts.audio == case["audio_len"]
        heard = speech.encode_speech(networks, whole[: case["samples"]], portrait)
        if case.get("bucket0"):
            assert counts.base == len(heard.buckets) == case["frames"]
            near(heard.buckets[0], torch.tensor(case["bucket0"]), 16 * CLOSE, f"{case['samples']} samples")
        else:
            # The published inference fails here or draws nothing; silence is added instead.
            assert heard.tokens.isfinite().all() and heard.buckets.isfinite().all()
            assert len(heard.tokens) == len(heard.buckets) >= 5


# d_, e_, f_: attention, blocks, the UNet


@pytest.mark.parametrize("sparse", [True, False], ids=["face only", "all pixels"])
def test_attention(attention_meta: Path, sparse: bool, numbers: Any, agree: Callable[..., None]) -> None:
    from parity_cases import attention

    agree(attention(numbers, attention_meta, sparse))


def test_blocks(block_meta: Path, numbers: Any, agree: Callable[..., None]) -> None:
    from parity_cases import blocks

    agree(blocks(numbers, block_meta))


@pytest.mark.parametrize("together", [True, False], ids=["one batch", "branch by branch"])
def test_unet(unet_meta: Path, together: bool, numbers: Any, agree: Callable[..., None]) -> None:
    from parity_cases import unet

    agree(unet(numbers, unet_meta, together))


# g_: schedule and loop


def test_schedules(loop_meta: Path, numbers: Any) -> None:
    from sonic_ext.engines.sonic.schedule import schedule

    recorded = {key: value for key, value in _meta(loop_meta).items() if re.fullmatch(r"schedule\d+", key)}
    assert recorded
    for key, want in recorded.items():
        got = schedule(int(key.removeprefix("schedule")), numbers.tiny["scheduler"])
        assert got.sigmas.tolist() == want["sigmas"]
        # The logarithm of one processor's library differs from another's in the last place.
        times, wanted = got.timesteps.numpy(), np.array(want["timesteps"], np.float32)
        assert (np.abs(times - wanted) <= np.spacing(np.abs(wanted))).all()


def test_reference_latent(reference_file: Path, numbers: Any, agree: Callable[..., None]) -> None:
    from parity_cases import reference_latent

    agree(reference_latent(numbers, reference_file))


def test_loop(loop_file: Path, numbers: Any, agree: Callable[..., None]) -> None:
    from parity_cases import loop

    agree(loop(numbers, loop_file))


# h_, i_: VAE, RIFE


def test_vae(vae_meta: Path, numbers: Any, agree: Callable[..., None]) -> None:
    from parity_cases import vae

    agree(vae(numbers, vae_meta))


def test_rife(rife_file: Path, numbers: Any, agree: Callable[..., None]) -> None:
    from parity_cases import rife

    agree(rife(numbers, rife_file))


# k_: whole runs


def test_whole_run(whole_meta: Path, numbers: Any, agree: Callable[..., None]) -> None:
    from parity_cases import whole

    agree(whole(numbers, whole_meta))


# manifests


def test_keys_and_shapes(manifest: Path, numbers: Any, folder: Path) -> None:
    from parity_numbers import keys_of, whole

    from sonic_ext.nn.interpolate import UNUSED

    name = manifest.stem.removeprefix("manifest_")
    build, prefix = whole()[name]
    want = {key: shape for key, (shape, _) in _meta(manifest).items()}
    summary = folder / "manifest_summary.json"
    if summary.exists():
        assert len(want) == _meta(summary)[name]["tensors"]
        assert sum(math.prod(shape) for shape in want.values()) == _meta(summary)[name]["elements"]
    used = {
        key: shape
        for key, shape in want.items()
        if key.startswith(prefix) and not key.startswith(f"{prefix}{UNUSED}")
    }
    assert dict(keys_of(build(), prefix)) == used


# what reads the kinds that do not ship


@pytest.fixture(scope="module")
def made(numbers: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with a case of each, made with our own networks."""
    from made_numbers import long_speech, whole_run
    from parity_numbers import Numbers

    made = Numbers(tmp_path_factory.mktemp("made"), USUAL)
    long_speech(made)
    whole_run(made)
    return made


def test_made_cases_are_found_and_agree(made: Any, agree: Callable[..., None]) -> None:
    long_file, whole_meta = (_paths(made.folder, name)[0] for name in ("long_file", "whole_meta"))
    assert (long_file.stem, whole_meta.stem) == ("c_audio_made", "k_made_meta")
    test_long_windows(long_file, made, agree)
    test_whole_run(whole_meta, made, agree)


def test_a_whole_run_in_other_words(made: Any, agree: Callable[..., None]) -> None:
    told = {
        "audio": "samples 4000:16000 of speech.wav",
        "frames_shape": [1, 3, 17, 64, 64],
        "frames_sel": "[0, 7, 15, -1]",
        "mask_area": 1.1,
        "frames": 9,
        "unet_calls": 4,
        "inputs": "a portrait and its voice",
    }
    test_whole_run(_retold(made, told), made, agree)


@pytest.mark.parametrize(
    ("key", "value"),
    [("seed", 8), ("shift_offset", 3), ("decode_chunk_size", 4), ("frames_sel", [0, 7, 14, 16])],
)
def test_a_whole_run_with_another_setting_is_off(
    key: str, value: object, made: Any, agree: Callable[..., None]
) -> None:
    with pytest.raises(AssertionError, match="off by"):
        test_whole_run(_retold(made, {key: value}), made, agree)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", None),
        ("audio", "some of it"),
        ("audio", [4000, 999_999]),
        ("audio", [4000, 14_000]),
        ("image", "another.png"),
        ("frames_shape", [9, 64, 64, 3]),
        ("frames_sel", [0, 7]),
        ("fps", 25),
        ("frames", 10),
    ],
)
def test_what_is_not_understood_is_named(
    key: str, value: object, made: Any, agree: Callable[..., None]
) -> None:
    with pytest.raises(LookupError, match=key):
        test_whole_run(_retold(made, {key: value}), made, agree)


def _retold(made: Any, told: dict[str, object]) -> Path:
    from made_numbers import retold

    return retold(made.folder / "k_made.safetensors", told, "k_retold")


@pytest.mark.parametrize(
    ("told", "name", "span"),
    [
        ([4000, 16_000], "speech.wav", (4000, 16_000)),
        (12_000, "speech.wav", (None, 12_000)),
        ("other.wav", "other.wav", (None, None)),
        ("speech.wav[0:16000]", "speech.wav", (0, 16_000)),
        ("speech.wav[:16000]", "speech.wav", (None, 16_000)),
        ("first 16000 samples", "speech.wav", (None, 16_000)),
        ("first 16000 samples of speech.wav", "speech.wav", (None, 16_000)),
        ("samples 4000 to 16000", "speech.wav", (4000, 16_000)),
        ("4000..16000", "speech.wav", (4000, 16_000)),
        ("(4000, 16000)", "speech.wav", (4000, 16_000)),
        ("n<16000", "speech.wav", (None, 16_000)),
    ],
)
def test_samples_in_words(told: object, name: str, span: tuple[int | None, int | None], numbers: Any) -> None:
    from parity_numbers import cut

    assert cut(told) == (name, slice(*span))


@pytest.mark.parametrize(
    "told", ["", "the last 16000", "16000 s", [1, 2, 3], [9, 5], [0.5, 2], True, None, {"samples": 5}]
)
def test_other_words_are_no_samples(told: object, numbers: Any) -> None:
    from parity_numbers import cut

    with pytest.raises(LookupError, match="audio"):
        cut(told)

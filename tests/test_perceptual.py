"""A portrait is told again after what people do to pictures, and no other is taken for it."""

from __future__ import annotations

import io
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sonic_ext.media.face import find_face
from sonic_ext.media.image import read_portrait
from sonic_ext.media.perceptual import ALIKE, BYTES, perceptual_hash, similarity

PORTRAITS = tuple(f"portrait_0{number}.jpg" for number in range(1, 6))


def hashed(rgb: np.ndarray) -> bytes:
    face, _ = find_face(rgb)
    return perceptual_hash(rgb, face.landmarks)


@pytest.fixture(scope="module")
def pictures(media: Path) -> dict[str, np.ndarray]:
    return {name: read_portrait(media / name).rgb for name in PORTRAITS}


@pytest.fixture(scope="module")
def hashes(pictures: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {name: hashed(rgb) for name, rgb in pictures.items()}


def jpeg(rgb: np.ndarray) -> np.ndarray:
    saved = io.BytesIO()
    Image.fromarray(rgb).save(saved, "JPEG", quality=50)
    return np.array(Image.open(saved))


def half(rgb: np.ndarray) -> np.ndarray:
    height, width = rgb.shape[:2]
    return np.array(Image.fromarray(rgb).resize((width // 2, height // 2)))


def brighter(rgb: np.ndarray) -> np.ndarray:
    return np.clip(rgb.astype(int) + 20, 0, 255).astype(np.uint8)


def darker(rgb: np.ndarray) -> np.ndarray:
    return np.clip(rgb.astype(int) - 20, 0, 255).astype(np.uint8)


def cropped(rgb: np.ndarray) -> np.ndarray:
    height, width = rgb.shape[:2]
    return rgb[height // 10 :, : width - width // 10]


def mirrored(rgb: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rgb[:, ::-1])


@pytest.mark.parametrize("change", [jpeg, half, brighter, darker, cropped, mirrored])
@pytest.mark.parametrize("name", PORTRAITS[:2])
def test_a_changed_copy_is_told_again(
    change: object, name: str, pictures: dict[str, np.ndarray], hashes: dict[str, bytes]
) -> None:
    assert callable(change)
    assert similarity(hashes[name], hashed(change(pictures[name]))) >= ALIKE


def test_different_portraits_are_not_alike(hashes: dict[str, bytes]) -> None:
    assert max(similarity(a, b) for a, b in combinations(hashes.values(), 2)) < ALIKE - 0.05


def test_one_changed_pixel_changes_nothing(pictures: dict[str, np.ndarray], hashes: dict[str, bytes]) -> None:
    rgb = pictures[PORTRAITS[0]].copy()
    rgb[0, 0] ^= 1
    assert similarity(hashes[PORTRAITS[0]], hashed(rgb)) > 0.99


def test_a_large_picture_costs_no_more_than_its_face(pictures: dict[str, np.ndarray]) -> None:
    small = pictures[PORTRAITS[0]]
    face, _ = find_face(small)
    large = np.array(Image.fromarray(small).resize((6 * small.shape[1], 6 * small.shape[0])))
    big = face.scaled(6, 6)
    assert similarity(perceptual_hash(small, face.landmarks), perceptual_hash(large, big.landmarks)) > 0.98


def test_a_face_at_the_edge_and_one_beyond_it(pictures: dict[str, np.ndarray]) -> None:
    rgb = pictures[PORTRAITS[0]]
    face, _ = find_face(rgb)
    left = rgb[:, int(face.box.left + face.box.width / 3) :]
    moved = face.scaled(1, 1, -(face.box.left + face.box.width / 3))
    assert len(perceptual_hash(left, moved.landmarks)) == BYTES


def test_a_uniform_picture_has_a_hash_that_is_like_nothing(hashes: dict[str, bytes]) -> None:
    face_less = perceptual_hash(np.full((200, 200, 3), 128, np.uint8), _points())
    assert len(face_less) == BYTES
    assert all(similarity(face_less, other) < ALIKE for other in hashes.values())


def _points() -> np.ndarray:
    from sonic_ext.media.mesh import mean_face

    face = mean_face()[:, :2].astype(np.float64)
    low, high = face.min(axis=0), face.max(axis=0)
    return (face - low) / (high - low) * 100 + 50


def test_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=f"has {BYTES} bytes, not 3"):
        similarity(b"abc", bytes(BYTES))

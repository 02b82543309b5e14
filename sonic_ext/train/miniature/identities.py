"""Faces to train on: portraits from a folder, and more people by morphing two of them into one.

A morph takes the mean of two faces' landmarks, warps both pictures to it triangle by triangle, and blends
them (Beier & Neely, "Feature-based image metamorphosis", 1992, with a Delaunay mesh instead of lines).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...errors import BadInput, BadPortrait
from ...files.atomic import replace_file
from ...media.face import find_face
from ...media.geometry import Box
from ...media.image import read_portrait
from ...progress import Stage, Tick

CANVAS = 320
"""Pixels of a side of an identity's picture."""
FACE = 0.55
"""Height of the face's box in it."""
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
HELD_OUT = 20
"""Identities that nothing is learned from."""


@dataclass(frozen=True, eq=False)
class FaceIdentity:
    """A face, cut out so that all are alike in size and place."""

    name: str
    picture: NDArray[np.uint8]
    """uint8 RGB [CANVAS, CANVAS, 3]."""
    landmarks: NDArray[np.float32]
    """float32 [468, 3] in its pixels."""
    box: Box
    """Of the face, in its pixels."""


def read_identities(folder: Path, tick: Tick) -> list[FaceIdentity]:
    """Every picture of a folder with one usable face, by name; others are passed over.

    Raises:
        BadInput: there are too few to hold some out and to morph.
        Cancelled: from `tick`.
    """
    found = []
    paths = sorted(each for each in folder.rglob("*") if each.suffix.lower() in PICTURES)
    for number, path in enumerate(paths):
        tick(Stage.FINDING_FACE, number, len(paths))
        try:
            found.append(_cut_out(path, str(path.relative_to(folder))))
        except BadPortrait:
            continue
    if len(found) < 2 * HELD_OUT:
        raise BadInput(
            f"{folder} has {len(found)} pictures with a face to train on; {2 * HELD_OUT} are the least.",
            "Give more portraits, such as github.com/faker-js/assets-person-portrait (CC0).",
        )
    return found


def write_faces(path: Path, faces: Sequence[FaceIdentity]) -> None:
    """Faces into one file."""
    from safetensors.numpy import save

    arrays: dict[str, NDArray[Any]] = {
        "pictures": np.stack([face.picture for face in faces]),
        "landmarks": np.stack([face.landmarks for face in faces]).astype(np.float32),
        "boxes": np.array([face.box for face in faces], np.float32),
    }
    replace_file(path, save(arrays, {"names": json.dumps([face.name for face in faces])}))


@lru_cache(maxsize=1)
def read_faces(path: Path) -> list[FaceIdentity]:
    """What `write_faces` wrote."""
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        names = json.loads((file.metadata() or {})["names"])
        pictures, landmarks, boxes = (file.get_tensor(name) for name in ("pictures", "landmarks", "boxes"))
    return [
        FaceIdentity(name, pictures[number], landmarks[number], Box(*map(float, boxes[number])))
        for number, name in enumerate(names)
    ]


def split(identities: Sequence[FaceIdentity]) -> tuple[list[FaceIdentity], list[FaceIdentity]]:
    """Those to learn from, and `HELD_OUT` evenly over the order."""
    aside = {round(place) for place in np.linspace(0, len(identities) - 1, HELD_OUT)}
    learned = [each for number, each in enumerate(identities) if number not in aside]
    return learned, [identities[number] for number in sorted(aside)]


def multiplied(identities: Sequence[FaceIdentity], count: int, seed: int) -> Iterator[FaceIdentity]:
    """The identities, and morphs of two of them each, until there are `count`."""
    yield from identities[:count]
    for number in range(len(identities), count):
        rng = np.random.default_rng([seed, number])
        first, second = (identities[place] for place in rng.choice(len(identities), 2, replace=False))
        yield morphed(first, second, rng.uniform(0.35, 0.65))


def morphed(first: FaceIdentity, second: FaceIdentity, share: float) -> FaceIdentity:
    """A face between two; `share` is the second's."""
    ours, theirs = (_anchored(each.landmarks) for each in (first, second))
    middle = ours + share * (theirs - ours)
    triangles = _triangles(middle)
    pictures = [
        _warped(each.picture, points, middle, triangles) for each, points in ((first, ours), (second, theirs))
    ]
    blended = cv2.addWeighted(pictures[0], 1 - share, pictures[1], share, 0)
    landmarks = first.landmarks + share * (second.landmarks - first.landmarks)
    box = Box(*(a + share * (b - a) for a, b in zip(first.box, second.box, strict=True)))
    return FaceIdentity(f"{first.name}+{second.name}", np.asarray(blended, np.uint8), landmarks, box)


def _cut_out(path: Path, name: str) -> FaceIdentity:
    rgb = read_portrait(path).rgb
    face, _ = find_face(rgb)
    scale = FACE * CANVAS / face.box.height
    x, y = face.box.centre
    moved = np.array([[scale, 0, CANVAS / 2 - scale * x], [0, scale, CANVAS / 2 - scale * y]])
    if scale > 2 or abs(face.roll) > 30:
        raise BadPortrait(f"{name} is too small or too tilted to train on.", "Leave it out.")
    smaller, matrix = rgb, moved
    if scale < 0.5:  # warping alone would skip pixels
        smaller = cv2.resize(rgb, None, fx=2 * scale, fy=2 * scale, interpolation=cv2.INTER_AREA)
        matrix = moved @ np.diag([rgb.shape[1] / smaller.shape[1], rgb.shape[0] / smaller.shape[0], 1.0])
    picture = cv2.warpAffine(
        smaller, matrix, (CANVAS, CANVAS), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    dx, dy = float(moved[0, 2]), float(moved[1, 2])
    placed = face.scaled(scale, scale, dx, dy)
    return FaceIdentity(name, np.asarray(picture, np.uint8), placed.landmarks, placed.box)


def _anchored(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """The landmarks in the plane, and points along the picture's border that stay."""
    ticks = np.linspace(0, CANVAS - 1, 5, dtype=np.float32)
    border = {(x, y) for x in ticks for y in ticks if {x, y} & {ticks[0], ticks[-1]}}
    return np.concatenate([landmarks[:, :2], np.array(sorted(border), np.float32)])


def _triangles(points: NDArray[np.float32]) -> NDArray[np.int64]:
    """Delaunay's, as indices [n, 3]."""
    inside = np.clip(points, 0, CANVAS - 1)
    mesh = cv2.Subdiv2D((0, 0, CANVAS, CANVAS))
    order: dict[int, int] = {}
    for number, (x, y) in enumerate(inside):
        order.setdefault(mesh.insert((float(x), float(y))), number)
    corners = np.asarray(mesh.getTriangleList()).reshape(-1, 3, 2)
    known = {tuple(np.float32(mesh.getVertex(vertex)[0])): number for vertex, number in order.items()}
    found = [[known.get(tuple(np.float32(corner))) for corner in triangle] for triangle in corners]
    return np.array([each for each in found if None not in each], np.int64)


def _warped(
    picture: NDArray[np.uint8],
    points: NDArray[np.float32],
    target: NDArray[np.float32],
    triangles: NDArray[np.int64],
) -> NDArray[np.uint8]:
    """The picture with its points at their targets, every triangle moved as a plane."""
    which = np.zeros((CANVAS, CANVAS), np.int32)
    affine = np.zeros((len(triangles), 2, 3), np.float32)
    for number, corners in enumerate(triangles):
        affine[number] = cv2.getAffineTransform(target[corners], points[corners])
        cv2.fillConvexPoly(which, np.rint(target[corners]).astype(np.int32), number)
    x, y = np.meshgrid(np.arange(CANVAS, dtype=np.float32), np.arange(CANVAS, dtype=np.float32))
    places = np.stack([x, y, np.ones_like(x)], axis=-1)
    sources = np.einsum("hwij,hwj->hwi", affine[which], places)
    return np.asarray(
        cv2.remap(picture, sources, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )

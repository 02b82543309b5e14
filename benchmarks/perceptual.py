"""How well a portrait is told again: `python benchmarks/perceptual.py PICTURE [PICTURE …]`.

For every change (re-saving, scaling, cropping, brightness, mirroring) the share of pictures whose copy is
taken for the same picture, and among all pairs of different pictures how many are. The face is found anew in
every copy, as when it comes back as a portrait. Pictures without a usable face are named and left out.
"""

from __future__ import annotations

import argparse
import io
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image

from sonic_ext.errors import BadPortrait
from sonic_ext.media.face import find_face
from sonic_ext.media.image import read_portrait
from sonic_ext.media.perceptual import ALIKE, perceptual_hash, similarity


def changed(rgb: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Names and copies of a picture, uint8 [height, width, 3]."""
    picture, (height, width) = Image.fromarray(rgb), rgb.shape[:2]
    saved = io.BytesIO()
    picture.save(saved, "JPEG", quality=50)
    jpeg = np.array(Image.open(saved).convert("RGB"))
    tenth, edge = (height // 10, width // 10), (height // 20, width // 20)
    middle = (slice(edge[0], height - edge[0]), slice(edge[1], width - edge[1]))
    yield "JPEG, quality 50", jpeg
    yield "half size", _halved(rgb)
    yield "10 % cropped, all sides", rgb[middle]
    yield "10 % cropped, top left", rgb[tenth[0] :, tenth[1] :]
    yield "10 % cropped, bottom right", rgb[: height - tenth[0], : width - tenth[1]]
    for change in (20, -20):
        yield f"brightness {change:+}", np.clip(rgb.astype(np.int16) + change, 0, 255).astype(np.uint8)
    yield "mirrored", np.ascontiguousarray(rgb[:, ::-1])
    yield "JPEG 50, cropped, half size, mirrored", _halved(np.ascontiguousarray(jpeg[middle][:, ::-1]))


def _halved(rgb: np.ndarray) -> np.ndarray:
    picture = Image.fromarray(rgb)
    return np.array(picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS))


def hashed(rgb: np.ndarray) -> bytes:
    """As a portrait's hash is made."""
    face, _ = find_face(rgb)
    return perceptual_hash(rgb, face.landmarks)


def main() -> None:
    """Parse the command line, print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--copies", type=int, help="change so many of the pictures only; default all")
    options = parser.parse_args()
    own: dict[Path, bytes] = {}
    scores: defaultdict[str, list[float]] = defaultdict(list)
    for number, path in enumerate(options.pictures):
        try:
            rgb = read_portrait(path).rgb
            own[path] = hashed(rgb)
        except BadPortrait as error:
            print(f"left out: {path.name}: {error.message}")
            continue
        for name, copy in changed(rgb) if options.copies is None or number < options.copies else ():
            try:
                scores[name].append(similarity(own[path], hashed(copy)))
            except BadPortrait:
                scores[name].append(-1.0)
    print(f"\n{'change':40}{'copies':>8}{'told again':>12}{'least':>8}")
    for name, found in scores.items():
        told = sum(score >= ALIKE for score in found) / len(found)
        print(f"{name:40}{len(found):8}{told:12.1%}{min(found):8.3f}")
    pairs = sorted(((similarity(own[a], own[b]), a, b) for a, b in combinations(own, 2)), reverse=True)
    wrong = sum(score >= ALIKE for score, _, _ in pairs)
    print(f"\n{len(pairs)} pairs of {len(own)} different pictures: {wrong} taken for one.")
    for score, a, b in pairs[:3]:
        print(f"  {score:.3f}  {a.parent.name}/{a.name}  {b.parent.name}/{b.name}")


if __name__ == "__main__":
    main()

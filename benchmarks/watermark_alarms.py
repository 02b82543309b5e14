"""False alarms of the invisible watermark: `python benchmarks/watermark_alarms.py`, 10 minutes on two cores.

1. Clips without a mark of this tool: heads, cameras that move, sensor noise, drawings, flat ones; and clips
   with other marks: tiled logos, blocks of an encoder, this tool's own under other keys. No id may be found.
2. Soft bits of a clip that is marked, read with wrong keys: none may give an id.
3. How often a decoded message agrees with its MAC in the first n bits: 2**-n, if the odds told are right.
"""

from __future__ import annotations

import argparse
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import cv2
import numpy as np
from numpy.typing import NDArray
from watermark import ID, MEDIA, Draw, decode, encode, i420, talking, texture, travelling, wall

from sonic_ext.provenance.watermark import ALGORITHMS, PROJECT_KEY, detect, marker
from sonic_ext.provenance.watermark.codec import MAC_BITS, MESSAGE_BITS, mac
from sonic_ext.provenance.watermark.version2_pattern import CODE

KINDS = (
    "head",
    "camera",
    "sensor",
    "drawing",
    "wall",
    "texture",
    "logo",
    "blocks",
    "other key",
    "first, other key",
)


def noisy(draw: Draw, rng: np.random.Generator) -> Draw:
    """With the noise of a sensor, new in every frame, and of its columns, the same in all."""

    def drawn(count: int):
        columns = None
        for frame in draw(count):
            if columns is None:
                columns = rng.normal(0, 1, (1, frame.shape[1], 3))
            yield np.clip(frame + columns + rng.normal(0, 4, frame.shape), 0, 255).astype(np.uint8)

    return drawn


def drawing(side: int, rng: np.random.Generator) -> Draw:
    """Shapes of one colour each that move."""
    shapes = [
        (rng.integers(0, side, 2), rng.integers(4, side // 3), rng.integers(0, 256, 3)) for _ in range(25)
    ]

    def drawn(count: int):
        for index in range(count):
            frame = np.full((side, side, 3), 230, np.uint8)
            for number, (place, size, colour) in enumerate(shapes):
                x, y = (int(each + 3 * np.sin(index / 7 + number)) for each in place)
                cv2.circle(frame, (x, y), int(size), [int(each) for each in colour], -1, cv2.LINE_AA)
            yield frame

    return drawn


def with_logo(draw: Draw, side: int, rng: np.random.Generator) -> Draw:
    """A pattern of letters over all of the picture, faint, in one colour."""
    sheet = np.zeros((side, side, 3), np.uint8)
    step, colour = int(rng.integers(24, 96)), [int(each) for each in rng.integers(0, 256, 3)]
    for y in range(0, side, step):
        for x in range(0, side, step):
            cv2.putText(sheet, "demo", (x, y), cv2.FONT_HERSHEY_SIMPLEX, step / 60, colour, 1, cv2.LINE_AA)
    return lambda count: (cv2.addWeighted(frame, 1, sheet, 0.12, 0) for frame in draw(count))


def in_blocks(draw: Draw) -> Draw:
    """Through a strong JPEG, frame by frame."""

    def drawn(count: int):
        for frame in draw(count):
            data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 12])[1]
            yield cv2.imdecode(data, cv2.IMREAD_COLOR)

    return drawn


def without_our_mark(number: int) -> tuple[str, bool]:
    """The kind of a clip, and whether an id was found in it."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(number)
    kind, side = KINDS[number % len(KINDS)], int(rng.choice([192, 256, 320, 384]))
    names = sorted(path.name for path in MEDIA.glob("*.jpg"))
    name, lift = names[int(rng.integers(len(names)))], float(rng.uniform(-50, 50))
    head = talking(
        name, side, side, sway=float(rng.uniform(0, 2)), lift=lift, crop=float(rng.uniform(0.5, 1))
    )
    pan = (float(rng.uniform(-2, 2)), float(rng.uniform(-2, 2)))
    draw = {
        "camera": travelling(name, side, side, pan, float(rng.uniform(-0.001, 0.002))),
        "sensor": noisy(head, rng),
        "drawing": drawing(side, rng),
        "wall": wall(side, side),
        "texture": texture(side, side, number),
        "logo": with_logo(head, side, rng),
        "blocks": in_blocks(head),
    }.get(kind, head)
    frames = [i420(frame) for frame in draw(30 if "first" not in kind else 60)]
    if "key" in kind:
        algorithm = list(ALGORITHMS)[-1 if "first" in kind else 0]
        other = marker(ID, side, side, 25, f"another {number}".encode(), algorithm)
        for index, frame in enumerate(frames):
            other.embed(frame, index)
    data = encode(frames, crf=int(rng.integers(15, 36)))
    return kind, detect(decode(data), 25) is not None


def soft_bits() -> NDArray[np.float32]:
    """Soft bits as they come from a marked clip: signal 1, in the order of a key nobody has."""
    rng = np.random.default_rng(7)
    return (CODE.encode(ID, PROJECT_KEY) + rng.standard_normal(CODE.bits)).astype(np.float32)


def wrong_keys(numbers: range) -> tuple[int, Counter[int]]:
    """How many of these wrong keys give an id, and how many agree in so many first bits of the MAC."""
    soft, found, agreeing = soft_bits(), 0, Counter[int]()
    for number in numbers:
        key = f"wrong {number}".encode()
        rng = np.random.default_rng(number)
        mine = soft[rng.permutation(CODE.bits)] * rng.choice(np.float32([-1, 1]), CODE.bits)
        found += CODE.decode(mine, key) is not None
        word = int("".join(map(str, CODE.viterbi(mine).tolist())), 2)
        assert word < 1 << MESSAGE_BITS
        tag = mac(word >> MAC_BITS, key) ^ (word & ((1 << MAC_BITS) - 1))
        agreeing[MAC_BITS - tag.bit_length()] += 1
    return found, agreeing


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    args = parser.parse_args()
    with ProcessPoolExecutor(args.jobs, get_context("spawn")) as pool:
        seen, alarms = Counter[str](), Counter[str]()
        for kind, found in pool.map(without_our_mark, range(args.clips), chunksize=4):
            seen[kind] += 1
            alarms[kind] += found
        print(f"{alarms.total()} alarms in {seen.total()} clips:", end=" ")
        print(", ".join(f"{kind} {alarms[kind]} of {count}" for kind, count in seen.items()), flush=True)
        size, found, agreeing = 1000, 0, Counter[int]()
        parts = [range(start, min(start + size, args.keys)) for start in range(0, args.keys, size)]
        for several, counted in pool.map(wrong_keys, parts):
            found += several
            agreeing += counted
    print(f"{found} ids under {args.keys} wrong keys")
    for bits in range(1, 17):
        got = sum(count for same, count in agreeing.items() if same >= bits)
        print(f"  first {bits} bits of the MAC agree: {got}, expected {args.keys / 2**bits:.1f}")


if __name__ == "__main__":
    main()

"""Other sources of face boxes: yoloface's TorchScript, insightface's SCRFD, and the seam for both."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonic_ext import weights
from sonic_ext.engines.detectors import detector, packs
from sonic_ext.errors import BadSetting, Cancelled, MissingPart, NoFace
from sonic_ext.media import scrfd
from sonic_ext.media.detection import FaceDetection
from sonic_ext.media.face import Detect, find_boxes, find_face
from sonic_ext.media.geometry import Box
from sonic_ext.media.image import read_portrait
from sonic_ext.media.yoloface import input_size
from sonic_ext.settings import describe

DATA = Path(__file__).parent / "data"
TINY = DATA / "detectors" / "tiny_scrfd.onnx"
"""Takes what is bright for a face; see `make_scrfd.py` beside it."""


@pytest.fixture(autouse=True)
def _no_packs_of_this_computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path / "insightface"))


@pytest.fixture
def search(tmp_path: Path) -> weights.Search:
    """Nothing anywhere but in `tmp_path`."""
    (tmp_path / "own").mkdir()
    return weights.Search(tmp_path / "own", webui=tmp_path / "webui")


def portrait(name: str = "portrait_01.jpg") -> np.ndarray:
    return read_portrait(DATA / "media" / name).rgb


def always(*boxes: Box) -> Detect:
    return lambda rgb: [FaceDetection(box, 0.9, None) for box in boxes]


# ---- the seam


def test_the_largest_box_wins_wherever_it_stands_and_becomes_the_faces() -> None:
    rgb = portrait("two_people.jpg")
    first, second = (box for box, _ in find_boxes(rgb))
    for order in ((first, second), (second, first)):
        face, warnings = find_face(rgb, detect=always(*order))
        assert face.box == first.clipped(rgb.shape[1], rgb.shape[0])
        assert any("2 faces were found; the largest" in each for each in warnings)


def test_the_points_are_the_built_in_meshs() -> None:
    rgb = portrait()
    own, _ = find_face(rgb)
    (box, _), *_ = find_boxes(rgb)
    other, _ = find_face(rgb, detect=always(box.expanded(0.05)))
    apart = np.abs(other.landmarks[:, :2] - own.landmarks[:, :2]).max()
    assert apart < 0.03 * own.box.height
    assert other.confidence > 0.9


def test_a_detector_that_finds_nothing_or_boxes_without_area_finds_no_face() -> None:
    for boxes in ((), (Box(5, 5, 5, 90),), (Box(-90, -90, -5, -5),)):
        with pytest.raises(NoFace):
            find_face(portrait(), detect=always(*boxes))


def test_a_box_reaching_outside_is_cut_and_one_by_hand_wins() -> None:
    rgb = portrait()
    (box, _), *_ = find_boxes(rgb)
    away = round(box.left) + 8
    near, rgb = box.shifted(-away, 0), np.ascontiguousarray(rgb[:, away:])
    face, _ = find_face(rgb, detect=always(near))
    assert face.box == near._replace(left=0)
    by_hand = near._replace(left=2)
    face, _ = find_face(rgb, box=by_hand, detect=always(near))
    assert face.box == by_hand


def test_points_by_hand_work_with_boxes_alone() -> None:
    rgb = portrait()
    (box, _), *_ = find_boxes(rgb)
    face, _ = find_face(rgb, mouth=(357, 425, 439, 425), detect=always(box))
    assert face.by_hand and face.box == box.clipped(rgb.shape[1], rgb.shape[0])


def test_the_tick_is_called_before_the_detector() -> None:
    def stop(*_: Any) -> None:
        raise Cancelled

    def never(rgb: np.ndarray) -> list[FaceDetection]:
        raise AssertionError("asked although the user had stopped")

    with pytest.raises(Cancelled):
        find_face(portrait(), tick=stop, detect=never)


# ---- which one

JIT = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
"""The file's format is what it is; new versions of torch say that they would like another."""


def test_every_choice_of_the_setting_leads_somewhere(search: weights.Search) -> None:
    assert detector("builtin", search) is None
    for name in describe()["face_detector"].choices[1:]:
        with pytest.raises(MissingPart) as caught:
            detector(name, search)
        assert caught.value.exit_code == 4
        assert "face_detector=builtin" in caught.value.hint
    with pytest.raises(BadSetting, match="Use one of builtin, yoloface, insightface"):
        detector("mtcnn", search)


def test_a_missing_yoloface_says_the_command(search: weights.Search) -> None:
    with pytest.raises(MissingPart, match="sonic weights fetch yoloface --accept-licences"):
        detector("yoloface", search)


def test_a_damaged_yoloface_is_named(search: weights.Search) -> None:
    (search.own / "yoloface_v5m.pt").write_bytes(b"<html>moved</html>")
    with pytest.raises(MissingPart, match=r"yoloface is wrong.*web page"):
        detector("yoloface", search)


@JIT
def test_yoloface_is_run_and_the_largest_of_its_faces_wins(search: weights.Search) -> None:
    torch = pytest.importorskip("torch", reason="torch is an optional part, and not installed")
    rgb = portrait("two_people.jpg")
    (first, _), (second, _) = find_boxes(rgb)
    down, across = (a / b for a, b in zip(input_size(*rgb.shape[:2]), rgb.shape[:2], strict=True))

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("answer", torch.zeros(1, 3, 16))

        def forward(self, x: torch.Tensor, grids: list[torch.Tensor]) -> torch.Tensor:
            return self.answer

    net = Net()
    for row, (box, score) in enumerate(((second, 0.99), (first, 0.8), (first, 0.7))):
        x, y = box.centre
        values = [x * across, y * down, box.width * across, box.height * down, score]
        net.answer[0, row, :5] = torch.tensor(values)
        net.answer[0, row, 15] = 1
    torch.jit.script(net).save(str(search.own / "yoloface_v5m.pt"))
    detect = detector("yoloface", search)
    assert detect is not None
    found = detect(rgb)
    assert [round(each.score, 2) for each in found] == [0.99, 0.8]
    face, _ = find_face(rgb, detect=detect)
    assert list(face.box) == pytest.approx(list(first), abs=0.1)


@JIT
def test_a_torchscript_of_something_else_is_no_accident(search: weights.Search) -> None:
    torch = pytest.importorskip("torch", reason="torch is an optional part, and not installed")
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(search.own / "yoloface_v5m.pt"))
    detect = detector("yoloface", search)
    assert detect is not None
    with pytest.raises(MissingPart, match="does not answer as yoloface does"):
        detect(portrait())


# ---- insightface packs


@pytest.mark.parametrize(
    "place",
    [
        "insightface/models/buffalo_l",
        "insightface/models/antelopev2/antelopev2",
        "insightface/buffalo_s",
        "webui/insightface/models/buffalo_l",
        "webui/insightface",
    ],
)
def test_packs_are_found_where_people_have_them(place: str, search: weights.Search, tmp_path: Path) -> None:
    folder = tmp_path / place
    folder.mkdir(parents=True)
    (folder / "genderage.onnx").write_bytes(b"another network")
    assert packs(search) == []
    shutil.copy(TINY, folder / "det_10g.onnx")
    assert packs(search) == [folder / "det_10g.onnx"]
    assert detector("insightface", search) is not None


def test_an_empty_or_broken_pack_says_so(search: weights.Search, tmp_path: Path) -> None:
    folder = tmp_path / "insightface" / "models" / "buffalo_l"
    folder.mkdir(parents=True)
    with pytest.raises(MissingPart, match=r"No insightface pack.*det_\*\.onnx"):
        detector("insightface", search)
    (folder / "det_10g.onnx").write_bytes(b"")
    with pytest.raises(MissingPart, match=r"cannot run the face detector .*det_10g"):
        _run_on(search, portrait())


def test_the_largest_detector_is_taken(search: weights.Search, tmp_path: Path) -> None:
    for name, size in (("det_500m.onnx", 20), ("det_10g.onnx", 90)):
        (tmp_path / "insightface").mkdir(exist_ok=True)
        (tmp_path / "insightface" / name).write_bytes(b"0" * size)
    assert [path.name for path in packs(search)] == ["det_10g.onnx", "det_500m.onnx"]


def _run_on(search: weights.Search, rgb: np.ndarray) -> list[FaceDetection]:
    detect = detector("insightface", search)
    assert detect is not None
    return detect(rgb)


def test_a_network_is_run_and_read(tmp_path: Path) -> None:
    """In a folder whose name is not ASCII; two bright squares, the dimmer one is less certain."""
    path = shutil.copy(TINY, tmp_path / "детектор 検出.onnx")
    rgb = np.zeros((480, 640, 3), np.uint8)
    rgb[128:160, 192:224], rgb[320:352, 448:480] = 255, 230
    first, second = scrfd.Scrfd(Path(path))(rgb)
    assert first.box == Box(160, 96, 256, 192) and second.box == Box(416, 288, 512, 384)
    assert first.score == pytest.approx(1 / (1 + np.exp(-(4 * 127.5 / 128 - 2))), abs=1e-4)
    assert second.score < first.score
    assert first.points is not None
    assert first.points.tolist() == [[192, 128], [200, 136], [208, 144], [216, 152], [224, 160]]


def test_a_picture_that_shows_nothing_bright_has_no_face() -> None:
    assert scrfd.Scrfd(TINY)(np.zeros((100, 60, 3), np.uint8)) == []


# ---- what the network's numbers mean


def outputs(
    strides: tuple[int, ...] = (8, 16, 32), anchors: int = 2, points: bool = True
) -> list[np.ndarray]:
    """An answer without a face, in the order that insightface's files have."""
    counts = [anchors * (640 // stride) ** 2 for stride in strides]
    widths = (1, 4, 10) if points else (1, 4)
    return [np.zeros((count, width), np.float32) for width in widths for count in counts]


@pytest.mark.parametrize("points", [True, False])
@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize(
    ("strides", "anchors"), [((8, 16, 32), 2), ((8, 16, 32), 1), ((8, 16, 32, 64, 128), 1)]
)
def test_distances_become_boxes(strides: tuple[int, ...], anchors: int, batch: bool, points: bool) -> None:
    answer = outputs(strides, anchors, points)
    level, x, y = 1, 7, 3
    row = anchors * (y * 40 + x)
    answer[level][row] = 0.75
    answer[len(strides) + level][row] = (1, 2, 3, 4.5)
    if points:
        answer[2 * len(strides) + level][row] = np.arange(10)
    shaped = [each[None] for each in answer] if batch else answer
    for order in (shaped, shaped[::-1]):
        (face,) = scrfd.decoded(order, 640)
        assert face.box == Box(7 * 16 - 16, 3 * 16 - 32, 7 * 16 + 48, 3 * 16 + 72)
        assert face.score == 0.75
        if points:
            assert face.points is not None and face.points[4].tolist() == [7 * 16 + 128, 3 * 16 + 144]
        else:
            assert face.points is None


def test_boxes_of_one_face_become_one_and_the_best_stays() -> None:
    answer = outputs()
    for row, score in ((0, 0.6), (1, 0.9), (2, 0.7)):
        answer[2][row], answer[5][row] = score, (0, 0, 5, 5)
    answer[2][90], answer[5][90] = 0.8, (0, 0, 2, 2)
    found = scrfd.decoded(answer, 640)
    assert [round(face.score, 2) for face in found] == [0.9, 0.8]


def test_numbers_that_are_none_are_no_faces() -> None:
    answer = outputs()
    answer[2][:3] = 0.9
    answer[5][0], answer[5][1], answer[5][2] = np.nan, np.inf, (-1, -1, 0, 0)
    assert scrfd.decoded(answer, 640) == []


@pytest.mark.parametrize(
    "answer",
    [[], [np.zeros((1, 1000), np.float32)], outputs()[:5], outputs()[:-1], [*outputs(), np.zeros((4, 3))]],
    ids=["nothing", "a classifier", "boxes lack", "points lack", "more"],
)
def test_another_networks_answer_is_refused(answer: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="outputs are"):
        scrfd.decoded(answer, 640)


def test_a_grid_of_another_input_is_refused() -> None:
    with pytest.raises(ValueError, match="grid of 80 × 80"):
        scrfd.decoded([each[:-1] for each in outputs()], 640)

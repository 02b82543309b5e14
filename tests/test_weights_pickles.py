"""Pickles as people have them: read for tensors only, whatever lies beside them, and never run."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import pickle
import struct
import tracemalloc
import zipfile
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonic_ext import weights
from sonic_ext.errors import BadWeights, MissingPart
from sonic_ext.weights import conversion, pickles
from sonic_ext.weights.record import read_record
from sonic_ext.weights.unpickle import FAULTS, FOREIGN, MAX_STEPS, StoredTensor, unpickle

torch = pytest.importorskip("torch")

from toy_unet import TOY, toy_weights  # noqa: E402

from sonic_ext.nn.unet import build_unet  # noqa: E402

NAMES = st.text("abcdefg._0", min_size=1, max_size=8).filter(lambda name: name not in pickles.WRAPPINGS)
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool)


class Odd:
    """An object of a program that is not here: state, items and a reducer of its own."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def __reduce__(self) -> Any:
        return Odd, (self.held,), {"more": self.held}, iter([1, 2]), iter([("a", self.held)])

    def append(self, item: Any) -> None:
        raise AssertionError("run")

    __setstate__ = __setitem__ = append


@st.composite
def tensors(draw: st.DrawFn) -> Any:
    """Plain ones, parameters, views, of every shape up to three sides."""
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    made = torch.arange(int(np.prod(shape, dtype=int))).reshape(shape).to(draw(st.sampled_from(DTYPES)))
    way = draw(st.sampled_from(["plain", "parameter", "turned", "part", "marked"]))
    if way == "parameter" and made.is_floating_point():
        return torch.nn.Parameter(made)
    if way == "turned":
        return made.permute(tuple(reversed(range(made.dim()))))
    if way == "part" and made.dim():
        return made[1::2]
    if way == "marked":
        made.mark = "of somebody"
    return made


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.fractions(),
    st.datetimes(),
    st.complex_numbers(allow_nan=False),
    st.sampled_from([np.float32(2), np.arange(3), np.dtype("f8"), len, Fraction, torch.device("cpu")]),
)
OBJECTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(st.text(max_size=3), st.integers()), inner, max_size=3),
        st.builds(lambda held: argparse.Namespace(held=held), inner),
        st.builds(Odd, inner),
        st.builds(lambda held: deque([held]), inner),
        st.builds(lambda held: defaultdict(list, a=held), inner),
        st.frozensets(st.integers(), max_size=3),
        st.sets(st.text(max_size=3), max_size=3),
    ),
    max_leaves=8,
)


def saved(path: Path, held: Any, new: bool = True, protocol: int = 2) -> Path:
    torch.save(held, path, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
    return path


def same(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return found.keys() == wanted.keys() and all(
        found[key].dtype == wanted[key].dtype and torch.equal(found[key], wanted[key].detach())
        for key in wanted
    )


def read(path: Path) -> dict[str, Any]:
    held = pickles.read_pickle(path)
    mapped = pickles.MappedTensors(held)
    return {key: mapped[key] for key in held.stored}


@given(
    st.dictionaries(NAMES, tensors(), min_size=1, max_size=4),
    st.dictionaries(st.one_of(NAMES, st.integers()), OBJECTS, max_size=4),
    OBJECTS,
    st.booleans(),
    st.integers(2, 5),
    st.lists(st.sampled_from(pickles.WRAPPINGS), max_size=3),
)
def test_of_any_objects_exactly_the_tensors_are_kept(
    tmp_path_factory: pytest.TempPathFactory,
    named: dict[str, Any],
    others: dict[Any, Any],
    beside: Any,
    new: bool,
    protocol: int,
    wrappings: list[str],
) -> None:
    held: Any = OrderedDict({**others, **named})
    for wrapping in wrappings:
        held = {"epoch": beside, wrapping: held, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}
    path = saved(tmp_path_factory.mktemp("pickles") / "a.pt", held, new, protocol)
    assert same(read(path), named)


@given(OBJECTS, st.integers(2, 5))
def test_plain_values_are_those_of_pickle_itself(held: Any, protocol: int) -> None:
    """Where nothing is foreign, and but for keys that are no text."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items() if isinstance(key, str)}
        return type(value)(map(plain, value)) if isinstance(value, (list, tuple)) else value

    said = unpickle(pickle.dumps(held, protocol))
    if not said.foreign and not has_foreign(said.value):
        assert said.value == plain(held)


def has_foreign(value: Any) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return value is FOREIGN or any(map(has_foreign, inside))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(FAULTS):
        unpickle(data)


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation:UserWarning")
def test_what_torch_writes_beyond_plain_tensors(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    eighth = getattr(torch, "float8_e4m3fn", torch.float16)
    held = {"whole": base, "row": base[1], "column": base[:, 2], "eighth": base.to(eighth)}
    odd = {
        "complex": torch.ones(2, dtype=torch.complex64),
        "sparse": torch.eye(2).to_sparse(),
        "quantized": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        "size": torch.Size([1, 2]),
        "type": torch.float32,
        "generator": torch.get_rng_state(),
    }
    assert read(saved(tmp_path / "a.pt", held | odd)).keys() == {*held, "generator"}
    assert same(read(saved(tmp_path / "b.pt", held)), held)


def test_a_module_of_weights_keeps_them_without_its_own_notes(tmp_path: Path) -> None:
    state = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)).state_dict()
    for new in (True, False):
        assert same(read(saved(tmp_path / "a.pt", {"state_dict": state}, new)), state)


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match=r"only objects that could run code \(torch\.nn\.modules\.linear"):
        pickles.read_pickle(saved(tmp_path / "a.pt", torch.nn.Linear(2, 2)))


def test_a_dict_that_holds_itself_comes_to_an_end(tmp_path: Path) -> None:
    held: dict[str, Any] = {"w": torch.ones(2)}
    held["model"] = held["state_dict"] = held
    assert read(saved(tmp_path / "a.pt", held)).keys() == {"w"}


def test_pairs_of_python_2_become_a_dict() -> None:
    data = b"\x80\x02ccollections\nOrderedDict\n]](U\x01aK\x01ea\x85R."
    assert unpickle(data).value == {"a": 1}


def test_listing_reads_no_tensor_and_a_tensor_reads_no_other(tmp_path: Path) -> None:
    """Numbers stay on the disk: 400 MB are listed, and one tensor of them read, in a few of memory."""
    path = tmp_path / "a.pt"
    big = torch.zeros(50_000_000)
    saved(path, {"small": torch.ones(3), "big": big, "more": big.clone()})
    del big
    tracemalloc.start()
    held = pickles.read_pickle(path)
    assert held.entries["big"].shape == (50_000_000,)
    assert tracemalloc.get_traced_memory()[1] < 3_000_000
    tracemalloc.stop()
    tensor = pickles.MappedTensors(held)["small"]
    assert tensor.tolist() == [1, 1, 1] and tensor.untyped_storage().nbytes() == 12


def test_listing_takes_no_torch_and_conversion_says_that_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "a.pt", {"w": torch.ones(2)})
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    held = pickles.read_pickle(path)
    assert held.entries["w"].shape == (2,)
    with pytest.raises(MissingPart, match="only with PyTorch"):
        pickles.MappedTensors(held)


# ---- attacks


def zipped(path: Path, data: bytes, files: Mapping[str, bytes] | None = None, **how: Any) -> Path:
    """A zip such as torch writes, around any pickle."""
    with zipfile.ZipFile(path, "w", **how) as archive:
        archive.writestr("a/data.pkl", data)
        for name, content in ({"data/0": bytes(16)} if files is None else files).items():
            archive.writestr(f"a/{name}", content)
    return path


def tensor(
    count: int = 4,
    offset: Any = 0,
    shape: Any = (4,),
    stride: Any = (1,),
    kind: str = "FloatStorage",
    word: str = "storage",
    key: str = "0",
) -> bytes:
    """The pickle of `{"w": tensor}` over a storage of 16 bytes."""

    class _Pickler(pickle._Pickler):
        def persistent_id(self, value: Any) -> Any:
            return (word, getattr(torch, kind), key, "cpu", count) if value is stand_in else None

    class _Tensor:
        def __reduce__(self) -> Any:
            args = (stand_in, offset, shape, stride, False, OrderedDict())
            return torch._utils._rebuild_tensor_v2, args

    stand_in = object()
    out = io.BytesIO()
    _Pickler(out, 2).dump({"w": _Tensor()})
    return out.getvalue()


def test_the_tensor_that_the_attacks_vary_is_sound(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.pt", tensor())
    assert read(path)["w"].tolist() == [0.0] * 4
    assert pickles.read_pickle(path).span("w")[1] - pickles.read_pickle(path).span("w")[0] == 16


@pytest.mark.parametrize(
    "data",
    [
        tensor(count=5, shape=(5,)),  # more than the file's
        tensor(count=2**62),
        tensor(count=-1),
        tensor(shape=(5,)),
        tensor(offset=1),
        tensor(offset=-1),
        tensor(offset=2**70),
        tensor(shape=(2,), stride=(4,)),
        tensor(shape=(2,), stride=(-1,)),
        tensor(shape=(2,), stride=(2**62,)),
        tensor(shape=(2**40,), stride=(0,)),  # one number that becomes many
        tensor(shape=(2**62, 0, 2**62), stride=(1, 1)),
        tensor(shape=(1,) * 65, stride=(1,) * 65),
        tensor(shape=(True,), stride=(1,)),
        tensor(shape=("4",)),
        tensor(shape=[4]),
        tensor(offset=1.0),
        tensor(kind="DoubleStorage"),
        tensor(key="1"),
        tensor(key="../data.pkl"),
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match="damaged or not a file of weights"):
        pickles.read_pickle(zipped(tmp_path / "a.pt", data))


@pytest.mark.parametrize(
    "data",
    [tensor(word="module"), tensor(kind="float_power"), tensor(kind="ComplexFloatStorage")],
)
def test_what_is_no_storage_of_ours_makes_no_tensor(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match="holds no named tensors"):
        pickles.read_pickle(zipped(tmp_path / "a.pt", data))


MARKED = "open('owned', 'w')"
ATTACKS = {
    "os.system": b"cos\nsystem\n(X\x0b\0\0\0touch ownedtR",
    "posix": b"cposix\nsystem\nX\x0b\0\0\0touch owned\x85R",
    "eval": b"c__builtin__\neval\nX\x12\0\0\0" + MARKED.encode() + b"\x85R",
    "exec": b"cbuiltins\nexec\nX\x12\0\0\0" + MARKED.encode() + b"\x85R",
    "stacked": b"\x8c\x08builtins\x8c\x04eval\x93\x8c\x12" + MARKED.encode() + b"\x85R",
    "getattr": b"cbuiltins\ngetattr\ncos\nsystem\nX\x08\0\0\0__call__\x86R\x8c\x0btouch owned\x85R",
    "dotted": b"\x8c\x02os\x8c\x0fpath.os.execvpe\x93)R",
    "inner": b"ctorch._utils\n_rebuild_tensor_v2.__globals__.get\n\x8c\x02os\x85R",
    "apply": b"ctorch._utils\n_rebuild_parameter\ncos\nsystem\n\x8c\x0btouch owned\x85R\x85R",
    "wrapped": b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nctorch\nTensor\n\x8c\x05touch\x85NtR",
    "newobj": b"csubprocess\nPopen\n]\x8c\x05toucha\x85\x81",
    "newobj_ex": b"csubprocess\nPopen\n)}\x92",
    "inst": b"(\x8c\x0btouch ownedios\nsystem\n",
    "obj": b"(cos\nsystem\n\x8c\x0btouch ownedo",
    "build": b"ccollections\nOrderedDict\n)R}\x8c\x0c__setstate__cos\nsystem\nsb\x8c\x0btouch ownedb",
    "build a class": b"ccollections\nOrderedDict\nN}\x8c\x06updatecos\nsystem\ns\x86b",
    "extension": b"\x82\x01)R",
    "persistent": b"cos\nsystem\nQ",
    "text persistent": b"Pcos.system\n",
    "import": b"c__main__\n__import__\n\x8c\x02os\x85R",
    "torch.load": b"ctorch.storage\n_load_from_bytes\nC\x04evil\x85R",
}


@pytest.mark.parametrize("way", ATTACKS)
def test_nothing_is_run_and_the_tensors_beside_are_kept(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.__import__", _Imports(__import__))
    sound = tensor()
    for body in (ATTACKS[way] + b"0" + sound[2:], sound[:-1] + b"(X\x01\0\0\0x" + ATTACKS[way] + b"u."):
        path = zipped(tmp_path / "a.pt", b"\x80\x04" + body.removeprefix(b"\x80\x02"))
        held = pickles.read_pickle(path)
        assert held.entries["w"].shape == (4,)
    assert {entry.name for entry in tmp_path.iterdir()} == {"a.pt"}


class _Imports:
    """Refuses the modules that the attacks name."""

    def __init__(self, true: Callable[..., Any]) -> None:
        self._true = true

    def __call__(self, name: str, *args: Any, **named: Any) -> Any:
        assert name not in ("subprocess", "posix"), name
        return self._true(name, *args, **named)


def test_no_class_of_ours_can_be_altered() -> None:
    before = dict(vars(StoredTensor))
    state = b"}\x8c\x05shapeK\x01sb"
    unpickle(tensor()[:-2] + state + b"s.")
    unpickle(b"csonic_ext.weights.unpickle\nStoredTensor\nN" + state[:-1] + b"\x86b.")
    assert dict(vars(StoredTensor)) == before


@pytest.mark.parametrize(
    "data",
    [
        b"]r\xff\xff\xff\xff.",  # the last place of the memo
        b"]" + b"2" * 1000 + b".",
        b"(" * 100_000 + b"t" * 99_999 + b".",
        b")" + b"\x85" * 1_000_000 + b".",  # nested a million deep
        b"]" + b"q\x00h\x00a" * 1000 + b".",  # holds itself
        b")" + b"2\x86" * 100_000 + b".",  # 2 ** 100,000 leaves
        b"}" + b")" + b"2\x86" * 60 + b"Ns.",  # as a key it would be hashed for years
    ],
    ids=["memo", "copies", "marks", "deep", "itself", "wide", "key"],
)
def test_small_bombs_do_not_go_off(data: bytes) -> None:
    tracemalloc.start()
    try:
        unpickle(data)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 200_000_000


@pytest.mark.parametrize(
    "data",
    [
        b"X\xff\xff\xff\xff",
        b"\x8d" + b"\xff" * 8,
        b"\x8e" + struct.pack("<Q", 2**62),
        b"\x8b\xff\xff\xff\x7f",
        b"I" + b"9" * 5000 + b"\n.",
        b"L" + b"9" * 5000 + b"L\n.",
        b"c" + b"a" * 5000 + b"\nb\n.",
        b"N" * (MAX_STEPS + 1),
        b"ctorch\nSize\n" * 3 + b"t",
        b"a",
        b"0",
        b".",
        b"h\x01.",
        b"NNNs.",
        b"N)b",
        b"\xff",
    ],
)
def test_what_goes_beyond_the_bounds_is_refused(data: bytes) -> None:
    with pytest.raises(FAULTS):
        unpickle(data)


def test_a_long_list_of_arguments_is_not_copied_again_and_again() -> None:
    call = b"h\x01h\x00R0"
    many = b"ctorch._utils\n_rebuild_tensor_v2\nq\x01(" + b"N" * 1000 + b"tq\x00" + call
    with pytest.raises(TypeError, match="too much"):
        unpickle(many)
    pairs = b"]q\x00(" + b"](\x8c\x01aNe" * 1000 + b"eccollections\nOrderedDict\nq\x01h\x00\x85R"
    assert unpickle(pairs + b"0h\x01h\x00\x85R.").value == {}


def test_a_zip_of_another_program_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.pt", tensor(), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(BadWeights, match="compressed or encrypted"):
        pickles.read_pickle(path)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "old"])
def test_numbers_in_another_order_are_refused(new: bool, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"w": torch.ones(2)}, new)
    if new:
        path = zipped(path, tensor(), {"data/0": bytes(16), "byteorder": b"big"})
    else:
        path.write_bytes(path.read_bytes().replace(b"little_endian\x94\x88", b"little_endian\x94\x89", 1))
        path.write_bytes(path.read_bytes().replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89", 1))
    with pytest.raises(BadWeights, match="order of another processor"):
        pickles.read_pickle(path)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "old"])
def test_every_cut_is_refused(new: bool, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"w": torch.ones(2), "v": torch.zeros(3)}, new)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(BadWeights):
            pickles.read_pickle(path)


def test_an_old_file_whose_storages_say_otherwise_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"w": torch.ones(2)}, new=False)
    whole = path.read_bytes()
    for count in (1, -1, 3, 2**62):
        path.write_bytes(whole[:-16] + struct.pack("<q", count) + whole[-8:])
        with pytest.raises(BadWeights, match="ends before its tensors do"):
            pickles.read_pickle(path)


@pytest.mark.parametrize(
    "keys", [b"])" + b"2\x86" * 60 + b"a.", b"\x8c\x010.", b"cos\nsystem\n.", b"]K\x00a."]
)
def test_an_old_file_whose_storages_have_no_names_is_refused(keys: bytes, tmp_path: Path) -> None:
    """Among them a key that would be hashed for years."""
    path = saved(tmp_path / "a.pt", {"w": torch.ones(2)}, new=False)
    whole, start = path.read_bytes(), 0
    for _ in range(4):
        start = unpickle(whole, start).stop
    path.write_bytes(whole[:start] + b"\x80\x02" + keys + whole[unpickle(whole, start).stop :])
    with pytest.raises(BadWeights, match="storages have no names"):
        pickles.read_pickle(path)


# ---- conversion


def test_a_conversion_reads_its_source_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte after byte for the hash, each tensor right after its own bytes; the source is mapped, not read."""
    shapes = {"proj1.weight": (1000, 1000), "proj1.bias": (1000,), "proj3.weight": (500, 1000)}
    held = {key: torch.randn(shape) for key, shape in reversed(shapes.items())}
    source = saved(tmp_path / "a.pth", held)
    order: list[tuple[int, int]] = []
    true = conversion._Digest.to

    def to(digest: Any, stop: int) -> str:
        before = digest._done
        said = true(digest, stop)
        order.append((before, digest._done))
        return said

    monkeypatch.setattr(conversion._Digest, "to", to)
    before = _read_so_far()
    target = weights.convert(weights.AUDIO2BUCKET, source, tmp_path / "a.safetensors", strict=False)
    assert _read_so_far() - before < 200_000
    size = source.stat().st_size
    assert [start for start, _ in order] == [0, *(stop for _, stop in order[:-1])]
    assert order[-1][1] == size and len(order) == 4
    assert read_record(target)["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()


@pytest.mark.parametrize("new", [True, False], ids=["zip", "old"])
@pytest.mark.parametrize("prefix", ["", "module.unet."])
def test_a_unet_from_a_training_run_computes_with_its_own_numbers(
    prefix: str, new: bool, tmp_path: Path
) -> None:
    """Wrapped twice, its keys behind a prefix, objects of the trainer beside it, in ComfyUI's folder."""
    held = toy_weights()
    beside = {"epoch": np.int64(3), "args": argparse.Namespace(rate=1e-5), "loss": np.float32(0.1)}
    state = {"module": {prefix + key: torch.nn.Parameter(tensor) for key, tensor in held.items()}}
    source = tmp_path / "ComfyUI" / "models" / "diffusion_models" / "my unet.pth"
    source.parent.mkdir(parents=True)
    saved(source, {**beside, "state_dict": {**beside, **state}, "optimizer": {0: torch.ones(3)}}, new)
    (tmp_path / "own").mkdir()
    where = weights.Search(tmp_path / "own", comfyui=(tmp_path / "ComfyUI",))
    path = weights.prepare(where, [weights.UNET])["unet"]
    network = build_unet(TOY)
    weights.fill(network, weights.UNET, path, dtype=torch.float32)
    assert same({key: tensor for key, tensor in network.state_dict().items() if key in held}, held)


def _read_so_far() -> int:
    """Bytes that this process has asked the system for by reading."""
    path = Path("/proc/self/io")
    if not path.exists():
        pytest.skip("no count of bytes here")
    return int(path.read_text().split("rchar:")[1].split()[0])

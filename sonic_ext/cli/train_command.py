"""`sonic train …`: grammar, progress, and what came of it in a few lines."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, Cancelled, MissingPart
from ..text import duration_text
from ..train.adapters.recipe import AdapterRecipe, Objective
from ..train.miniature.recipe import MiniatureRecipe
from .arguments import AddCommand, number_from
from .console import Console, ProgressLine
from .interrupt import Interrupts

if TYPE_CHECKING:
    from ..train.prepare.preparing import PreparedCorpus

PREPARE = """\
DIR is a corpus in the layout of VoxCeleb2 or LRS3, a part of one, or any folder of videos. OUT gets shards
of clips: the motion of the mouth at 25 frames a second, the sound, and the words where LRS3 has them. Videos
that show no face, several, or cuts, that are damaged or silent are left out; skipped.csv says which and why.
Called again, it goes on where it was stopped. docs/training.md says more.
"""


SYNC = """\
Trains the networks that hear whether a mouth and a voice belong together (docs/training.md). Mouths are drawn
from phoneme times; recordings are spoken anew by eSpeak NG and Flite, or taken from --corpus; clips of
`sonic train prepare` are learned from as well. Needs PyTorch and librosa:
python -m pip install "sonic-ext[train]". Called again, it goes on where it was stopped.
"""


MINIATURE = """\
Trains Sonic's architecture at a size that two cores train in about an hour (docs/training.md): recordings are
spoken by eSpeak NG and Flite, the faces of DIR say them as the preview engine draws it, and every network
learns from that. OUT becomes a folder of weights with engine.json, which says where they come from. Needs
torch, diffusers and transformers: python -m pip install "sonic-ext[train]". Called again, it goes on where it
was stopped.
"""


ADAPTERS = """\
Trains the audio adapters of the sonic engine's weights further (docs/training.md): audio2token and the UNet's
projections of audio tokens; everything else is held. DATA is a folder of talking videos, or NAME.training of
a miniature. A folder of videos has to have consent.json, or --basis says on what legal ground people are
learned from; that is written into OUT.safetensors and into the ledger. Put OUT.safetensors into the folder
adapters of a models folder, and use it with --set adapters=OUT. Needs torch, diffusers, transformers and
accelerate: python -m pip install "sonic-ext[train]"; several cards with `accelerate launch -m sonic_ext train
adapters ...`. Called again, it goes on where it was stopped.
"""


def grammar(commands: Any, add: AddCommand) -> None:
    """Add the command and its actions; `add` makes one."""
    made = add(commands, "train", "Prepare talking video, and train networks on it.")
    actions = made.add_subparsers(dest="action", metavar="ACTION", required=True)
    _prepare_grammar(actions, add)
    _sync_grammar(actions, add)
    _miniature_grammar(actions, add)
    _adapters_grammar(actions, add)


def run(options: argparse.Namespace, console: Console, signals: Interrupts) -> int:
    """Carry out a parsed `train` command; returns the exit code. Errors are raised."""
    return _ACTIONS[options.action](options, console, signals)


@contextlib.contextmanager
def _going_on(signals: Interrupts) -> Iterator[ProgressLine]:
    """The line that shows how far it is; what was stopped goes on another time, and it is said."""
    line = ProgressLine(lambda: signals.asked)
    try:
        with contextlib.closing(line), signals.polite():
            yield line
    except Cancelled:
        raise Cancelled("Stopped as asked.", "The same command goes on where it was.") from None


def _folder(given: str | None) -> Path | None:
    return Path(given).absolute() if given else None


def _add_voices(made: argparse.ArgumentParser) -> None:
    """The options that name recordings."""
    made.add_argument("--corpus", metavar="DIR", help="recordings, NAME.wav beside NAME.phonemes.json")
    made.add_argument("--held-out", metavar="DIR", help="the same of other voices, to measure on")


def _prepare_grammar(actions: Any, add: AddCommand) -> None:
    made = add(actions, "prepare", "Make clips to train on from folders of talking video.", PREPARE)
    made.add_argument("folder", metavar="DIR", help="videos lie in it or below it")
    made.add_argument(
        "-o", "--output", metavar="OUT", help="where the clips go; default: ./NAME-clips, as DIR is called"
    )
    made.add_argument(
        "--in-sync",
        action="store_true",
        help="leave out, too, what the shipped network finds more than 80 ms apart",
    )
    made.add_argument(
        "--jobs", type=number_from(1, 256), metavar="N", help="processes; default: one for each core"
    )


def _prepare(options: argparse.Namespace, console: Console, signals: Interrupts) -> int:
    from ..train.prepare.offsets import BY_NETWORK, shipped
    from ..train.prepare.preparing import LIST, prepare

    signals.unwind()
    if options.in_sync:
        shipped()
    folder = Path(options.folder).absolute()
    output = Path(options.output or f"{folder.resolve().name or 'corpus'}-clips").absolute()
    with _going_on(signals) as line:
        measure = BY_NETWORK if options.in_sync else ""
        found = prepare(folder, output, options.jobs or 0, measure, progress=line)
    if not found.clips:
        raise BadInput(
            f"None of {found.videos} videos gives a clip.", f"{output / LIST} says why, one by one."
        )
    console.result(found.values(), *_prepared_lines(found))
    return 0


def _prepared_lines(found: PreparedCorpus) -> tuple[str, ...]:
    from ..train.prepare.preparing import LIST

    what = f"{found.clips} clips of {len(found.speakers)} speakers, {duration_text(found.seconds)}"
    lines = [f"{what}, from {found.videos} videos are in {found.folder}"]
    for kept, how in ((False, "Left out"), (True, "Noted")):
        if reasons := found.reasons(kept):
            lines.append(f"{how}: {', '.join(f'{reason} {count}' for reason, count in reasons.items())}")
    if found.remarks:
        lines.append(f"One by one: {found.folder / LIST}")
    return tuple(lines)


def _sync_grammar(actions: Any, add: AddCommand) -> None:
    made = add(actions, "sync", "Train the networks that measure lip sync.", SYNC)
    made.add_argument("output", metavar="OUT.safetensors", help="the model; its page OUT.md lies beside it")
    _add_voices(made)
    made.add_argument("--clips", metavar="DIR", help="what `sonic train prepare` made")
    made.add_argument(
        "--minutes",
        type=number_from(1, 10_000),
        default=60,
        metavar="N",
        help="of recordings to speak; default: %(default)s",
    )
    made.add_argument(
        "--shape",
        choices=("calibration", "judge"),
        default="calibration",
        help="sizes of the network; default: %(default)s",
    )
    made.add_argument(
        "--levels",
        default="frame,semantic,style",
        metavar="NAMES",
        help="what is contrasted; default: %(default)s",
    )
    made.add_argument(
        "--copies",
        type=number_from(1, 1000),
        default=4,
        metavar="N",
        help="times that the corpus is heard, each time differently; default: %(default)s",
    )
    made.add_argument(
        "--steps",
        type=number_from(1, 1_000_000),
        default=600,
        metavar="N",
        help="batches from each of them; default: %(default)s",
    )
    made.add_argument(
        "--seed", type=number_from(0, 2**31), default=11, metavar="N", help="default: %(default)s"
    )
    made.add_argument(
        "--threads",
        type=number_from(1, 256),
        default=1,
        metavar="N",
        help="of torch; default: %(default)s, beside one that prepares",
    )


def _sync(options: argparse.Namespace, console: Console, signals: Interrupts) -> int:
    signals.unwind()
    try:
        from ..train.sync.network import ARCHITECTURES
        from ..train.sync.run import train_model
        from ..train.sync.training import LEVELS, SyncRecipe
    except ImportError as error:
        raise MissingPart(
            f"Training needs PyTorch and librosa; one is not installed or does not load ({error}).",
            'Bring it with: python -m pip install "sonic-ext[train]"',
        ) from error

    output = Path(options.output).absolute()
    levels = tuple(options.levels.split(","))
    if output.suffix != ".safetensors":
        raise BadInput(f"{output.name} is no name of a model.", "Give a name that ends in .safetensors.")
    if unknown := sorted({*levels} - {*LEVELS}):
        raise BadInput(f"There is no level {unknown[0]!r}.", f"Give some of: {', '.join(LEVELS)}.")
    recipe = SyncRecipe(
        ARCHITECTURES[options.shape], levels, options.copies, options.steps, seed=options.seed
    )
    with _going_on(signals) as line:
        made = train_model(
            output,
            recipe,
            corpus=_folder(options.corpus),
            held_out=_folder(options.held_out),
            clips=_folder(options.clips),
            minutes=options.minutes,
            threads=options.threads,
            progress=line,
        )
    reached = {name: round(value, 4) for name, value in made.metrics.items()}
    lines = [f"{made.path}: learned from {made.voices} voices and {made.clips} clips of video"]
    lines += [f"{value:.3f}  {name}" for name, value in reached.items()]
    console.result({"model": str(made.path), "page": str(made.page), "metrics": reached}, *lines)
    return 0


def _miniature_grammar(actions: Any, add: AddCommand) -> None:
    made = add(actions, "miniature", "Train a small network of Sonic's kind.", MINIATURE)
    made.add_argument("output", metavar="OUT", help="the folder of the weights")
    made.add_argument(
        "--portraits",
        required=True,
        metavar="DIR",
        help="faces of people who agreed, or of nobody",
    )
    _add_voices(made)
    usual = MiniatureRecipe()
    made.add_argument(
        "--identities",
        type=number_from(40, 100_000),
        default=usual.identities,
        metavar="N",
        help="faces to learn from; what DIR lacks is morphed; default: %(default)s",
    )
    made.add_argument(
        "--steps",
        type=number_from(1, 10_000_000),
        default=usual.network_steps,
        metavar="N",
        help="of the denoising network; default: %(default)s",
    )
    made.add_argument(
        "--contrast",
        type=float,
        default=usual.contrast,
        metavar="L",
        help="weight of InfoNCE, 0 to 1; default: %(default)s",
    )
    made.add_argument(
        "--seed", type=number_from(0, 2**31), default=usual.seed, metavar="N", help="default: %(default)s"
    )
    made.add_argument(
        "--threads", type=number_from(1, 256), metavar="N", help="of torch; default: one for each core"
    )


def _miniature(options: argparse.Namespace, console: Console, signals: Interrupts) -> int:
    signals.unwind()
    _require("torch", "diffusers", "transformers")
    from ..train.miniature.run import train_miniature

    if not 0 <= options.contrast <= 1:
        raise BadInput(f"--contrast {options.contrast:g} is out of range.", "Give a number from 0 to 1.")
    portraits = Path(options.portraits).absolute()
    if not portraits.is_dir():
        raise BadInput(f"{portraits} is no folder.", "Give a folder of pictures.")
    recipe = MiniatureRecipe(
        identities=options.identities,
        network_steps=options.steps,
        contrast=options.contrast,
        seed=options.seed,
    )
    with _going_on(signals) as line:
        made = train_miniature(
            Path(options.output).absolute(),
            recipe,
            portraits,
            corpus=_folder(options.corpus),
            held_out=_folder(options.held_out),
            threads=options.threads or 0,
            progress=line,
        )
    reached = {name: round(value, 4) for name, value in made.metrics.items()}
    lines = [f"{made.folder}: learned from {made.identities} faces and {made.voices} voices"]
    lines += [f"{value:8.3f}  {name}" for name, value in reached.items()]
    console.result({"weights": str(made.folder), "metrics": reached}, *lines)
    return 0


def _adapters_grammar(actions: Any, add: AddCommand) -> None:
    made = add(actions, "adapters", "Train the audio adapters of the sonic engine further.", ADAPTERS)
    made.add_argument("data", metavar="DATA", help="talking videos, or NAME.training of a miniature")
    made.add_argument("output", metavar="OUT.safetensors", help="the adapters")
    made.add_argument(
        "--basis", default="", metavar="TEXT", help="legal basis, where there is no consent.json"
    )
    usual = AdapterRecipe()
    for name, default, least, what in (
        ("--steps", usual.steps, 1, "of training"),
        ("--pretrain", usual.pretrain, 0, "steps before them, by contrast alone"),
        ("--batch", usual.batch, 1, "windows that go through the network together, over all cards"),
        ("--accumulate", usual.accumulate, 1, "times that this is done for a step"),
        ("--seed", usual.seed, 0, "of everything that is drawn"),
    ):
        kind = number_from(least, 2**31)
        made.add_argument(name, type=kind, default=default, metavar="N", help=f"{what}; default: %(default)s")
    for name, weight, letter, what in (
        ("--rate", usual.rate, "R", "of learning"),
        ("--contrast", usual.objective.contrast, "L", "weight of contrast, 0 to 1"),
        ("--adversarial", usual.objective.adversarial, "L", "weight of the discriminator's loss, 0 to 1"),
    ):
        help_text = f"{what}; default: %(default)s"
        made.add_argument(name, type=float, default=weight, metavar=letter, help=help_text)
    made.add_argument(
        "--levels",
        default=",".join(usual.objective.levels),
        metavar="NAMES",
        help="frame,semantic,style; default: %(default)s",
    )
    made.add_argument(
        "--side", type=number_from(64, 1024), metavar="N", help="pixels that are learned from; default: 512"
    )
    made.add_argument(
        "--precision", choices=("auto", "fp32", "bf16"), default="auto", help="default: %(default)s"
    )
    made.add_argument(
        "--no-checkpointing", action="store_true", help="keep activations: faster, and much more memory"
    )
    made.add_argument("--cpu", action="store_true", help="on the processor, though there is a card")


def _adapters(options: argparse.Namespace, console: Console, signals: Interrupts) -> int:
    signals.unwind()
    _require("torch", "diffusers", "transformers", "accelerate")
    from ..train.adapters.run import AdapterPlan, train_adapters

    output = Path(options.output).absolute()
    if output.suffix != ".safetensors":
        raise BadInput(f"{output.name} is no name of a model.", "Give a name that ends in .safetensors.")
    levels = tuple(filter(None, options.levels.split(",")))
    recipe = AdapterRecipe(
        steps=options.steps,
        pretrain=options.pretrain,
        batch=options.batch,
        accumulate=options.accumulate,
        rate=options.rate,
        objective=Objective(options.adversarial, options.contrast, levels),
        seed=options.seed,
    )
    plan = AdapterPlan(options.precision, not options.no_checkpointing, options.cpu, options.side)
    with _going_on(signals) as line:
        made = train_adapters(
            Path(options.data).absolute(),
            output,
            recipe,
            stated=options.basis,
            plan=plan,
            say=console.note,
            progress=line,
        )
    if not made.main:
        return 0
    about = made.overlay.about
    what = f"{about.data['clips']} clips of {about.data['speakers']} people"
    lines = [f"{output}: learned from {what}, {duration_text(about.data['seconds'])}"]
    lines += [f"{value:8.3f}  {name}" for name, value in made.trained.losses.items()]
    lines += [f"Left out: {each.name} ({each.reason}: {each.detail})" for each in made.remarks]
    values = {"adapters": str(output), "losses": dict(made.trained.losses), "data": dict(about.data)}
    console.result(values, *lines)
    return 0


def _require(*libraries: str) -> None:
    """Refuse to go on without what training needs."""
    if lacking := [name for name in libraries if find_spec(name) is None]:
        raise MissingPart(
            f"Training needs what is not installed: {', '.join(lacking)}.",
            'Bring it with: python -m pip install "sonic-ext[train]"',
        )


_ACTIONS = {"prepare": _prepare, "sync": _sync, "miniature": _miniature, "adapters": _adapters}

"""Do adversarial and contrastive losses make audio adapters better? Arms on one held miniature.

    python -m sonic_ext.train.corpus unseen --cast unseen --minutes 60 --seed 500
    python benchmarks/contrastive.py MINIATURE OUT --unseen unseen --seeds 5 --steps 300

MINIATURE is a folder of `sonic train miniature`, with MINIATURE.training beside it. Every arm trains the
adapters of that miniature on the same clips, by the same recipe but for its losses and its seed; two arms
train on five minutes of a language that is new. Each arm and seed leaves OUT/ARM/SEED.safetensors and
OUT/ARM/SEED.json and is passed over when they are there, so that the same command goes on, and several with
other --arms or --seeds share the work. What comes of it is drawn by the engine's own code on held-out faces
and measured by networks that no arm learns from. OUT gets contrastive.json, contrastive.md and plots.

The figures of an arm are means over clips and seeds; differences are paired by clip and seed, with 95 %
intervals of a bootstrap over both. Needs torch, diffusers, transformers and accelerate.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray

from sonic_ext import __version__, weights
from sonic_ext.engines.runtime.devices import Hardware
from sonic_ext.engines.sonic.networks import Networks
from sonic_ext.engines.sonic.vaes import PARTS
from sonic_ext.evaluation.plots import forest_plot, standalone
from sonic_ext.evaluation.statistics import MeanInterval, crossed_interval
from sonic_ext.files.atomic import replace_file
from sonic_ext.settings import Settings
from sonic_ext.train.adapters.basis import MINIATURE
from sonic_ext.train.adapters.clips import AdapterCorpus, write_clip
from sonic_ext.train.adapters.miniature import miniature_corpus, training_clip
from sonic_ext.train.adapters.network import AdapterNetwork, load_network
from sonic_ext.train.adapters.recipe import AdapterRecipe, Objective
from sonic_ext.train.adapters.training import AdapterTrainer
from sonic_ext.train.corpus.mixtures import Backgrounds, over
from sonic_ext.train.corpus.sounds import Utterance, by_voice, load, recordings, voice_of
from sonic_ext.train.miniature.footage import FootageClip
from sonic_ext.train.miniature.identities import FaceIdentity, read_faces
from sonic_ext.train.miniature.judging import LONG_CLOSURE, clip_figures, drawn_clip, spoken_clips
from sonic_ext.train.miniature.network import SIGMA_MEAN, SIGMA_STD, latent_clip
from sonic_ext.train.miniature.sizes import WINDOW
from sonic_ext.train.phonemes import is_bilabial
from sonic_ext.weights.overlays import Overlay, OverlayAbout, base_of, read_overlay, write_overlay

LANGUAGE_SECONDS = 6.0
"""Of a clip of the new language that is learned from."""
CONDITIONS: Mapping[str, tuple[str, float]] = {
    "clean": ("", math.inf),
    "babble 20 dB": ("babble", 20.0),
    "babble 10 dB": ("babble", 10.0),
    "babble 5 dB": ("babble", 5.0),
    "babble 0 dB": ("babble", 0.0),
    "music 5 dB": ("music", 5.0),
}
"""What is heard beside the speaker, and by how much the speaker is louder."""
FIGURES: Mapping[str, int] = {
    "sync": 1,
    "sync confidence": 1,
    "offset, ms": -1,
    "mouth, r": 1,
    "mouth by landmarks, r": 1,
    "long p, b, m shut": 1,
    "identity": 1,
    "jitter": -1,
    "dB": 1,
}
"""What is measured, and whether more is better."""
PLOTTED = ("sync", "mouth, r", "identity", "jitter")


PLAIN = Objective(contrast=0.0, levels=())
"""Reconstruction alone."""
PLOT_STYLE = (
    "text{font:11.5px sans-serif;fill:#646875}.row{text-anchor:end}.axis,.tick{text-anchor:middle}"
    ".grid{stroke:#eceef2}.zero{stroke:#646875}.certain line,.certain circle{stroke:#1b1d23;fill:#1b1d23}"
    ".unsure line,.unsure circle{stroke:#646875;fill:#fff}"
)


@dataclass(frozen=True)
class Arm:
    """One way to train."""

    objective: Objective = PLAIN
    trained: bool = True
    language: bool = False
    """On five minutes of the new language, instead of the miniature's clips."""
    pretrained: bool = False
    """By contrast alone before, on the miniature's clips."""
    against: str = "reconstruction"
    """The arm that it is compared with."""


def contrasted(weight: float, *levels: str) -> Arm:
    """Reconstruction with contrast."""
    return Arm(Objective(contrast=weight, levels=("frame", *levels)))


ARMS: Mapping[str, Arm] = {
    "reconstruction": Arm(),
    "adversarial": Arm(Objective(adversarial=0.05, contrast=0.0, levels=())),
    "frame 0.1": contrasted(0.1),
    "frame 0.2": contrasted(0.2),
    "frame 0.3": contrasted(0.3),
    "frame, semantic": contrasted(0.1, "semantic"),
    "frame, style": contrasted(0.1, "style"),
    "untrained": Arm(trained=False),
    "language": Arm(language=True),
    "language, pretrained": Arm(language=True, pretrained=True, against="language"),
}


@dataclass(frozen=True)
class Judged:
    """A clip to draw, and where it stands in the tables."""

    group: str
    """Which of voice, language and face were not learned from."""
    condition: str
    number: int
    clip: FootageClip
    """With the sound that mouth and sync are measured against."""
    heard: NDArray[np.float32]
    """What the engine is given."""

    @property
    def name(self) -> str:
        """The same for every arm and seed."""
        return f"{self.group} / {self.condition} / {self.number}"


@dataclass(frozen=True)
class Experiment:
    """What all arms share."""

    folder: Path
    """Of the miniature's weights."""
    output: Path
    steps: int
    pretrain: int
    rate: float
    fresh: bool
    inference_steps: int
    corpus: AdapterCorpus
    language: AdapterCorpus | None
    judged: Sequence[Judged]

    def networks(self) -> Networks:
        """Of the miniature."""
        paths = weights.prepare(weights.Search.alone(self.folder), PARTS)
        return Networks(paths, Hardware("cpu", torch.float32), lambda *_: None)

    def run(self, name: str, seed: int) -> None:
        """Train an arm and measure it, as far as that is not done."""
        results = self.output / name / f"{seed}.json"
        if results.exists():
            return
        results.parent.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        overlay = self.trained(name, seed) if ARMS[name].trained else None
        trained = time.monotonic()
        clips = {}
        for number, each in enumerate(self.judged):
            show(f"{name}, seed {seed}: clip {number + 1} of {len(self.judged)}")
            heard = replace(each.clip, sound=each.heard)
            noise = 1000 * seed + each.number
            frames = drawn_clip(
                self.folder, heard, self.inference_steps, noise, Settings(), lambda *_: None, overlay
            )
            clips[each.name] = clip_figures(self.folder, each.clip, frames)
        values = {
            "arm": name,
            "seed": seed,
            "steps": self.steps,
            "seconds": {
                "training": round(trained - began, 1),
                "measuring": round(time.monotonic() - trained, 1),
            },
            "training": dict(overlay.about.metrics) if overlay else {},
            "clips": clips,
        }
        replace_file(results, json.dumps(values, indent=1).encode())

    def trained(self, name: str, seed: int) -> Overlay:
        """The adapters of an arm, from the file where they are there."""
        arm, path = ARMS[name], self.output / name / f"{seed}.safetensors"
        if path.exists():
            return read_overlay(path)
        corpus = self.language if arm.language else self.corpus
        if corpus is None:
            raise SystemExit(f"The arm {name!r} needs recordings of a new language: --unseen")
        networks = self.networks()
        network = load_network(networks)
        if self.fresh:
            forget(network, seed)
        recipe = AdapterRecipe(
            steps=self.steps,
            rate=self.rate,
            window=WINDOW,
            noise=(SIGMA_MEAN, SIGMA_STD),
            mean=0.99,
            objective=arm.objective,
            seed=100 + seed,
        )
        state = path.with_suffix(".state")
        if arm.pretrained:
            first = replace(recipe, steps=0, pretrain=self.pretrain, objective=Objective(levels=("frame",)))
            before = path.with_suffix(".pretrained")
            trainer = AdapterTrainer(network, self.corpus, first, Accelerator(cpu=True))
            heard = trainer.train(before, reporting(f"{name}, seed {seed}: pretraining"))
            network.set_adapters(heard.adapters)
        trainer = AdapterTrainer(network, corpus, recipe, Accelerator(cpu=True))
        made = trainer.train(state, reporting(f"{name}, seed {seed}: training"))
        metrics = {**made.losses, "discriminator given up at": made.given_up}
        about = OverlayAbout(
            base_of(networks.paths),
            {**recipe.values(), "pretrained": self.pretrain if arm.pretrained else 0},
            corpus.basis.values(),
            corpus.about(),
            metrics,
            __version__,
        )
        overlay = write_overlay(path, made.adapters, about)
        for each in (state, path.with_suffix(".pretrained")):
            each.unlink(missing_ok=True)
        return overlay


@torch.no_grad()
def forget(network: AdapterNetwork, seed: int) -> None:
    """Begin the adapters anew: the rest of the network goes on with what it has learned."""
    torch.manual_seed(seed)
    learned = {id(weight) for _, weight in network.adapters()}
    for module in network.modules():
        own = [*module.parameters(recurse=False)]
        if own and all(id(weight) in learned for weight in own):
            reset: Callable[[], None] = module.reset_parameters
            reset()


def show(text: str) -> None:
    """A line on stderr."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def reporting(what: str) -> Callable[[int, int, Mapping[str, float]], None]:
    """Shows every fiftieth step."""

    def report(step: int, total: int, found: Mapping[str, float]) -> None:
        if step % 50 == 0 or step == total:
            show(f"{what} {step}/{total} " + " ".join(f"{key} {value:.3f}" for key, value in found.items()))

    return report


# Clips


def judged_clips(
    groups: Mapping[str, Sequence[FootageClip]], backgrounds: Backgrounds, conditions: Sequence[str]
) -> list[Judged]:
    """Every clip clean; those of the first group also among other sounds."""
    found = []
    for place, (group, clips) in enumerate(groups.items()):
        for condition in conditions if place == 0 else ("clean",):
            kind, decibels = CONDITIONS[condition]
            for number, clip in enumerate(clips):
                heard = clip.sound
                if kind:
                    rng = np.random.default_rng([number, 12])
                    beside = getattr(backgrounds, kind)(len(heard), rng)
                    heard = over((heard, list(clip.phonemes)), beside, decibels)[0].clip(-1, 1)
                found.append(Judged(group, condition, number, clip, heard))
    return found


def language_corpus(
    folder: Path,
    networks: Networks,
    faces: Sequence[FaceIdentity],
    files: Sequence[Path],
    backgrounds: Backgrounds,
    minutes: float,
) -> AdapterCorpus:
    """Minutes of a language said by faces that were learned from, made once."""
    count = math.ceil(minutes * 60 / LANGUAGE_SECONDS)
    folder.mkdir(parents=True, exist_ok=True)
    lacking = [number for number in range(count) if not (folder / f"{number:03d}.safetensors").exists()]
    if lacking:
        codec, looking, speech = networks.vae(), networks.clip(), networks.speech()
        for number, clip in enumerate(spoken_clips(faces, files, count, LANGUAGE_SECONDS, 21)):
            if number in lacking:
                show(f"new language: clip {number + 1} of {count}")
                latent = latent_clip(clip, codec, looking, speech.whisper, backgrounds, number)
                made = training_clip(f"{number:03d}", clip, vars(latent))
                write_clip(folder / f"{number:03d}.safetensors", made)
    return AdapterCorpus.in_folder(folder, MINIATURE)


def closing(files: Sequence[Path], seconds: float) -> list[Path]:
    """Recordings in which a p, b or m that has to be seen shut ends within so many seconds."""
    return [
        file
        for file in files
        if any(
            each.end <= seconds and each.end - each.start >= LONG_CLOSURE and is_bilabial(each.name)
            for each in load(file)[1]
        )
    ]


def language_of(file: Path) -> str:
    """`nl` of `espeak-nl+f2_00012.wav`."""
    return voice_of(file).partition("-")[2].partition("+")[0]


# Tables


def results_of(output: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """Arm → seed → what was measured, of everything that is there."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for name in ARMS:
        for path in sorted((output / name).glob("*.json")):
            values = json.loads(path.read_text(encoding="utf-8"))
            found.setdefault(name, {})[int(values["seed"])] = values
    return found


def table_of(results: Mapping[int, Mapping[str, Any]], names: Sequence[str], figure: str) -> NDArray[Any]:
    """[seeds, clips] of a figure; nan where it was not measured."""
    rows = [
        [results[seed]["clips"].get(name, {}).get(figure, math.nan) for name in names]
        for seed in sorted(results)
    ]
    return np.array(rows, np.float64)


def compared(
    results: Mapping[str, Mapping[int, Mapping[str, Any]]], names: Sequence[str], figure: str
) -> Iterator[tuple[str, MeanInterval, MeanInterval]]:
    """Of every arm the mean, and how far it lies from its other arm on the same clips and seeds."""
    for arm, by_seed in results.items():
        other = results.get(ARMS[arm].against, {})
        both = sorted({*by_seed} & {*other})
        own = crossed_interval(table_of(by_seed, names, figure))
        difference = crossed_interval(
            table_of({seed: by_seed[seed] for seed in both}, names, figure)
            - table_of({seed: other[seed] for seed in both}, names, figure)
            if both and arm != ARMS[arm].against
            else np.full((1, 1), np.nan)
        )
        yield arm, own, difference


def report(output: Path) -> None:
    """Write contrastive.json, contrastive.md and the plots of everything that is there."""
    results = results_of(output)
    if not results:
        return
    names = [
        *dict.fromkeys(
            name for by_seed in results.values() for each in by_seed.values() for name in each["clips"]
        )
    ]
    places = [*dict.fromkeys(name.rpartition(" / ")[0] for name in names)]
    lines, values, plots = [], {}, {}
    for figure, better in FIGURES.items():
        lines += ["", f"**{figure}** ({'more' if better > 0 else 'less'} is better)", ""]
        lines += ["| | " + " | ".join(places) + " |", "| --- |" + " --- |" * len(places)]
        rows: dict[str, list[str]] = {}
        for place in places:
            chosen = [name for name in names if name.rpartition(" / ")[0] == place]
            forest = []
            for arm, own, difference in compared(results, chosen, figure):
                text = f"{own.mean:.3f}"
                if math.isfinite(difference.mean):
                    text += f" ({difference.mean:+.3f}: {difference.low:+.3f} to {difference.high:+.3f})"
                    certain = not difference.low <= 0 <= difference.high
                    forest.append((arm, difference.mean, difference.low, difference.high, certain))
                rows.setdefault(arm, []).append(text)
                values[f"{arm} / {place} / {figure}"] = {"own": asdict(own), "difference": asdict(difference)}
            if figure in PLOTTED and forest:
                plots[f"{figure} {place}"] = forest
        lines += [f"| {arm} | " + " | ".join(cells) + " |" for arm, cells in rows.items()]
    seeds = {arm: sorted(by_seed) for arm, by_seed in results.items()}
    head = [
        f"Seeds of each arm: {'; '.join(f'{arm} {len(each)}' for arm, each in seeds.items())}. In brackets: "
        "the difference to the arm that it is compared with, with its 95 % interval over clips and seeds.",
    ]
    replace_file(output / "contrastive.md", "\n".join([*head, *lines, ""]).encode())
    everything = {"seeds": seeds, "figures": values}
    replace_file(output / "contrastive.json", json.dumps(everything, indent=1).encode())
    for name, forest in plots.items():
        drawing = forest_plot(forest, f"← less · {name} · more →")
        path = output / f"plot {name.replace(' / ', ' ').replace(',', '')}.svg"
        replace_file(path, standalone(drawing, PLOT_STYLE).encode())


def experiment(arguments: argparse.Namespace) -> Experiment:
    """What the command line asks for."""
    folder = arguments.miniature.absolute()
    training = folder.with_name(folder.name + ".training")
    corpus = arguments.corpus or training / "voices"
    others = arguments.held_out or training / "other-voices"
    known, unknown = recordings(corpus), recordings(others)
    unseen = recordings(arguments.unseen) if arguments.unseen else []
    new = [file for file in unseen if language_of(file) == arguments.language]
    other = [file for file in unseen if language_of(file) != arguments.language]
    aside = read_faces(training / "held-out-faces.safetensors")
    learned = read_faces(training / "footage-faces.safetensors")
    speakers: dict[str, list[Utterance]] = by_voice(unknown)
    backgrounds = Backgrounds(speakers, 77, pieces=6)
    half = len(new) // 2
    sources = {
        "other voices and faces": unknown,
        "other faces": known,
        "other languages, voices and faces": other,
        "the new language, other faces": new[half:],
    }
    show("drawing the clips that are measured")
    groups = {
        name: spoken_clips(
            aside, closing(files, arguments.seconds) or files, arguments.clips, arguments.seconds, 31 + place
        )
        for place, (name, files) in enumerate(sources.items())
        if files
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    made = Experiment(
        folder,
        arguments.output.absolute(),
        arguments.steps,
        arguments.pretrain,
        arguments.rate,
        arguments.fresh,
        arguments.inference_steps,
        miniature_corpus(training),
        None,
        judged_clips(groups, backgrounds, arguments.conditions),
    )
    if new and any(ARMS[name].language for name in arguments.arms):
        place = arguments.output / "language" / "clips"
        spoken = language_corpus(place, made.networks(), learned, new[:half], backgrounds, arguments.minutes)
        made = replace(made, language=spoken)
    return made


def main() -> None:
    """Command line; see the top of the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("miniature", type=Path, help="folder of the weights")
    parser.add_argument("output", type=Path)
    parser.add_argument("--arms", nargs="+", choices=[*ARMS], default=[*ARMS])
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--pretrain", type=int, default=300, help="steps of contrast alone")
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--fresh", action="store_true", help="adapters begin anew, not from the miniature's")
    parser.add_argument("--clips", type=int, default=4, help="of each group")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each clip; default: %(default)s")
    parser.add_argument("--conditions", nargs="+", choices=[*CONDITIONS], default=[*CONDITIONS])
    parser.add_argument("--inference-steps", type=int, default=10)
    parser.add_argument("--corpus", type=Path, help="of the miniature; default: its own")
    parser.add_argument("--held-out", type=Path, help="the same of other voices")
    parser.add_argument("--unseen", type=Path, help="recordings in languages that were not learned from")
    parser.add_argument("--language", default="nl", help="the one of them that two arms learn")
    parser.add_argument("--minutes", type=float, default=5.0, help="of it; default: %(default)s")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--report", action="store_true", help="only write the tables of what is there")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if not arguments.report:
        made = experiment(arguments)
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            for name in arguments.arms:
                if ARMS[name].language and made.language is None:
                    continue
                made.run(name, seed)
                report(arguments.output)
    report(arguments.output)


if __name__ == "__main__":
    main()

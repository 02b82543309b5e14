"""`sonic train miniature` from top to bottom: voices, faces, footage, the networks one by one, their files.

    OUT/            the weights, a set as `weights.bundles` has it
    OUT.training/   what going on needs; can be deleted afterwards

Each stage leaves its result in OUT.training and is passed over when that is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...errors import BadOutput
from ...nn.unet import Level
from ...processes import Alive, Workers, cores
from ...progress import Progress, Stage, Ticker
from ...weights import bundles
from ..corpus.mixtures import Backgrounds
from ..corpus.sounds import Utterance, by_voice, files_by_voice, load, recordings, seconds, voice_of
from ..corpus.speech import HELD_OUT as OTHER_VOICES
from ..corpus.speech import TRAINING, Cast, make
from ..curves import curves
from ..steps import StepRecipe, optimise, restore_state, save_state, writing
from .codec import STILL, codec_losses, codec_psnr, scale_latents, start_codec
from .footage import FootageClip, draw_clip, lines_of_one, read_footage, said, write_footage
from .hearing import Hearing, hearing_correlation, hearing_losses
from .identities import multiplied, read_faces, read_identities, split, write_faces
from .looking import Looking, looking_losses
from .network import Buckets, LatentClip, MiniatureNetwork, bucket_losses, latent_clip, network_losses
from .recipe import MiniatureRecipe
from .weights import write_weights

MINUTES, OTHER_MINUTES = 24.0, 6.0
"""Of speech that is learned from, and that is held out."""
FILE = "{:05d}.safetensors"


@dataclass(frozen=True)
class TrainedMiniature:
    """What came of it."""

    folder: Path
    """With the weights."""
    metrics: Mapping[str, float]
    identities: int
    voices: int


def train_miniature(
    output: Path,
    recipe: MiniatureRecipe,
    portraits: Path,
    *,
    corpus: Path | None = None,
    held_out: Path | None = None,
    threads: int = 0,
    progress: Progress,
) -> TrainedMiniature:
    """Train every network, and write the weights to `output`. Called again, it goes on where it was.

    Args:
        output: a folder, made anew; what going on needs lies beside it, in NAME.training.
        recipe: how much of everything.
        portraits: pictures of faces, nobody's who did not agree to it.
        corpus: recordings with phoneme times (`corpus.sounds`); spoken anew by default.
        held_out: the same of other voices, to measure on.
        threads: of torch; 0 for all cores.
        progress: shows steps and may stop it.

    Raises:
        BadInput: too few portraits; another recipe was begun.
        BadOutput: `output` holds something else; a file cannot be written.
        MissingPart: a synthesizer is not installed.
        Failed: a loss was no number.
        Cancelled: somebody stopped it; what was learned is kept.
    """
    if output.exists() and not (output / bundles.ABOUT).exists():
        raise BadOutput(f"{output} exists and holds no miniature.", "Give another name.")
    torch.set_num_threads(threads or cores())
    tick = Ticker(progress)
    state = output.with_name(output.name + ".training")
    with writing(output):
        state.mkdir(parents=True, exist_ok=True)
        voices = {
            name: recordings(folder) if folder else _spoken(state / name, cast, minutes, recipe.seed, tick)
            for name, folder, cast, minutes in (
                ("voices", corpus, TRAINING, MINUTES),
                ("other-voices", held_out, OTHER_VOICES, OTHER_MINUTES),
            )
        }
        faces = _faces(state, portraits, recipe, tick)
        _footage(state, faces, voices, recipe, tick)
        speakers = {name: by_voice(files) for name, files in voices.items()}
        known, aside = (_clips(state / name) for name in ("footage", "held-out"))
        metrics: dict[str, float] = {}
        stages = _Stages(state, recipe, tick)
        codec = stages.codec(known)
        metrics["codec, held-out faces, dB"] = codec_psnr(codec, aside)
        backgrounds = Backgrounds(speakers["voices"], recipe.seed)
        hearing = stages.hearing(speakers["voices"], backgrounds)
        metrics["jaw heard, held-out voices, r"] = hearing_correlation(hearing, speakers["other-voices"])
        looking = stages.looking(known)
        latent = stages.latents(known, codec, looking, hearing, backgrounds)
        del known, aside
        network, buckets = stages.network(latent, hearing)
        parts = {
            "unet": network.unet,
            "vae": codec,
            "image_encoder": looking.clip,
            "whisper": hearing.whisper,
            "audio2token": network.to_token,
            "audio2bucket": buckets.to_bucket,
        }
        write_weights(output, parts, asdict(recipe), metrics)
    return TrainedMiniature(output, metrics, recipe.identities, len(speakers["voices"]))


def _spoken(folder: Path, cast: Cast, minutes: float, seed: int, tick: Ticker) -> list[Path]:
    files, spoken = [], 0.0
    for file in make(folder, cast, minutes, seed):
        files.append(file)
        spoken += seconds(file) / 60
        tick(Stage.SPEAKING, min(round(spoken), round(minutes)), round(minutes))
    return files


def _faces(state: Path, portraits: Path, recipe: MiniatureRecipe, tick: Ticker) -> dict[str, Path]:
    """Files of the faces that are learned from and of those that are held out."""
    paths = {name: state / f"{name}-faces.safetensors" for name in ("footage", "held-out")}
    if not all(path.exists() for path in paths.values()):
        learned, aside = split(read_identities(portraits, tick))
        write_faces(paths["held-out"], aside)
        write_faces(paths["footage"], [*multiplied(learned, recipe.identities, recipe.seed)])
    return paths


def _footage(
    state: Path,
    faces: Mapping[str, Path],
    voices: Mapping[str, Sequence[Path]],
    recipe: MiniatureRecipe,
    tick: Ticker,
) -> None:
    """Draw every face saying something of one voice; held-out faces speak with held-out voices."""
    for (kind, path), files in zip(faces.items(), voices.values(), strict=True):
        (state / kind).mkdir(exist_ok=True)
        speakers = files_by_voice(files)
        count = len(read_faces(path))
        orders = []
        for number in range(count):
            target = state / kind / FILE.format(number)
            if target.exists():
                continue
            rng = np.random.default_rng([recipe.seed, number, 9])
            chosen = [str(line) for line in lines_of_one(speakers, rng)]
            seed = int(rng.integers(2**31))
            orders.append(
                {"faces": str(path), "number": number, "lines": chosen, "seed": seed, "target": str(target)}
            )
        done = count - len(orders)
        tick(Stage.DRAWING, done, count)
        with Workers(f"{__name__}:drawn", cores()) as workers:
            for _, answer in workers.answers(orders):
                if isinstance(answer, BaseException):
                    raise answer
                done += 1
                tick(Stage.DRAWING, done, count)


def drawn(order: Mapping[str, Any], alive: Alive) -> bool:
    """Draw one clip into a file; called in a process of its own."""
    alive()
    face = read_faces(Path(order["faces"]))[order["number"]]
    lines = [Path(line) for line in order["lines"]]
    spoken = said([load(line) for line in lines], np.random.default_rng(order["seed"]))
    clip = draw_clip(face, voice_of(lines[0]), spoken, order["seed"])
    write_footage(Path(order["target"]), [clip])
    return True


def _clips(folder: Path) -> list[FootageClip]:
    return [clip for path in sorted(folder.glob("*.safetensors")) for clip in read_footage(path)]


@dataclass(frozen=True)
class _Stages:
    """The networks, one after the other; each learns what its file does not say it has."""

    state: Path
    recipe: MiniatureRecipe
    tick: Ticker

    def codec(self, clips: Sequence[FootageClip]) -> Any:
        """The VAE, its latents scaled."""
        torch.manual_seed(self.recipe.seed)
        codec, seed, still = start_codec(), self.recipe.seed, STILL * self.recipe.codec_steps
        self._learn(
            "codec",
            codec,
            lambda step: codec_losses(codec, clips, step, seed, step >= still),
            2e-3,
            mean=0.995,
            muon=True,
        )
        codec.eval().requires_grad_(False)
        scale_latents(codec, clips)
        return codec

    def hearing(self, speakers: Mapping[str, Sequence[Utterance]], backgrounds: Backgrounds) -> Hearing:
        """The speech encoder and audio2token."""
        torch.manual_seed(self.recipe.seed + 1)
        hearing, seed = Hearing(), self.recipe.seed
        self._learn(
            "hearing",
            hearing,
            lambda step: hearing_losses(hearing, speakers, backgrounds, step, seed),
            2e-3,
            mean=0.995,
        )
        hearing.eval()
        return hearing

    def looking(self, clips: Sequence[FootageClip]) -> Looking:
        """The image encoder."""
        torch.manual_seed(self.recipe.seed + 2)
        looking, seed = Looking(), self.recipe.seed
        self._learn(
            "looking", looking, lambda step: looking_losses(looking, clips, step, seed), 1e-3, mean=0.99
        )
        looking.eval().requires_grad_(False)
        return looking

    def latents(
        self,
        clips: Sequence[FootageClip],
        codec: Any,
        looking: Looking,
        hearing: Hearing,
        backgrounds: Backgrounds,
    ) -> list[LatentClip]:
        """All that the network's training does not change, kept: it takes minutes."""
        path, key = self.state / "latents.pt", self.recipe.key("latents")
        found: list[LatentClip] = []

        def restore(kept: Mapping[str, Any]) -> None:
            for each in kept["clips"]:
                levels = {width: Level(**level) for width, level in each.pop("levels").items()}
                found.append(LatentClip(**each, levels=levels))

        if path.exists():
            restore_state(path, key, restore)
            return found
        for number, clip in enumerate(clips):
            self.tick(Stage.PREPARING_CLIPS, number, len(clips))
            own = self.recipe.seed * 100_003 + number
            found.append(latent_clip(clip, codec, looking.clip, hearing.whisper, backgrounds, own))
        save_state(path, key, clips=[asdict(each) for each in found])
        return found

    def network(self, clips: Sequence[LatentClip], hearing: Hearing) -> tuple[MiniatureNetwork, Buckets]:
        """The UNet with audio2token, and audio2bucket."""
        torch.manual_seed(self.recipe.seed + 3)
        network, buckets, seed = MiniatureNetwork(), Buckets(), self.recipe.seed
        network.to_token.load_state_dict(hearing.to_token.state_dict())
        contrast = self.recipe.contrast
        self._learn(
            "network",
            network,
            lambda step: network_losses(network, clips, step, seed, contrast),
            1e-3,
            mean=0.998,
            muon=True,
        )
        self._learn("buckets", buckets, lambda step: bucket_losses(buckets, clips, step, seed), 1e-3)
        return network, buckets

    def _learn(
        self,
        name: str,
        module: torch.nn.Module,
        losses: Callable[[int], Mapping[str, torch.Tensor]],
        rate: float,
        mean: float = 0.0,
        muon: bool = False,
    ) -> None:
        """One stage, with its curves in OUT.training/curves where TensorBoard is installed."""
        how = StepRecipe(self.recipe.steps(name), rate, self.recipe.seed, mean=mean, muon=muon)
        with curves(self.state / "curves" / name) as write:

            def report(step: int, total: int, found: Mapping[str, float]) -> None:
                write(step, found)
                self.tick(Stage.TRAINING, step, total, name)

            optimise(module, losses, how, self.state / f"{name}.pt", self.recipe.key(name), report)

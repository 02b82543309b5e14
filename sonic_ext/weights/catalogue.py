"""What the sonic engine loads: names, homes on the Hugging Face Hub, licences, and every key and shape.

The key lists ship as small gzip files in `manifests/`. They hold what inference needs: Whisper's decoder and
RIFE's teacher block are left out, and so is SVD's own UNet, which Sonic's replaces as a whole.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib import resources
from importlib.metadata import PackageNotFoundError, distribution
from math import prod

from ..errors import BadSetting

SUFFIX = ".safetensors"
HALVES = (".fp16", "_fp16")
"""What people add to the name of a file in half precision, before its suffix."""
Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]


class Kind(Enum):
    """What sort of file a part is."""

    TENSORS = "tensors"
    """Named tensors, in safetensors or in a pickle."""
    TORCHSCRIPT = "torchscript"
    """A network with its own code, opened by `torch.jit`."""
    SETTINGS = "settings"
    """A JSON file."""


@dataclass(frozen=True)
class Licence:
    """The terms a file comes under."""

    name: str
    sentence: str
    """What it means for whoever makes videos."""
    url: str


@dataclass(frozen=True)
class Part:
    """One model that can be found, checked, fetched, converted and loaded."""

    name: str
    """As the command line knows it."""
    title: str
    need: str
    """What it is needed for."""
    licence: Licence
    repos: tuple[str, ...]
    """Hub repositories that hold it; the first is the one fetched from."""
    hub_names: tuple[str, ...]
    """Its file inside a repository, best first; the first is the one fetched."""
    folders: tuple[str, ...] = ("",)
    """Folders below a models folder that copy a repository's layout; fetched into the first."""
    more: tuple[str, ...] = ()
    """Small files of the repository that are fetched along."""
    other_names: tuple[str, ...] = ()
    """More places below a models folder where people keep the file."""
    patterns: tuple[str, ...] = ()
    """Where files of any name may be it, as patterns below a models folder; taken only if they fit, those in
    half precision by their names last."""
    not_named: str = ""
    """Regular expression of file names that `patterns` pass over: same keys and shapes, another model. Empty
    for none."""
    converted: str = ""
    """Where its safetensors goes when the published file is a pickle, below our models folder."""
    required: bool = True
    """Whether the sonic engine cannot run without it."""
    single_file: bool = False
    """Whether a checkpoint of Stable Video Diffusion in one file holds it, too."""
    signs: tuple[str, ...] = ()
    """Regular expressions; each fits at least one key of every file that holds this part."""
    channels: tuple[tuple[str, int], ...] = ()
    """Key and count of input channels that every size of the model has."""
    unused: tuple[str, ...] = ()
    """Beginnings of keys that inference leaves out."""
    kind: Kind = Kind.TENSORS
    about: int | None = None
    """Bytes to fetch, roughly, where known; the Hub names the exact number before anything is fetched."""
    manifest: Shapes | None = None
    """Keys and shapes; None stands for the list that ships under the part's name."""

    @property
    def shapes(self) -> Shapes:
        """Every key of the published file that inference needs, with its shape."""
        return _shipped(self.name) if self.manifest is None else self.manifest

    @property
    def elements(self) -> int:
        """Numbers in all tensors together."""
        return sum(prod(shape) for shape in self.shapes.values())

    @property
    def local_names(self) -> tuple[str, ...]:
        """Where to look below a models folder, best first: the exact names, then those of half precision."""
        copies = (f"{folder}/{name}".lstrip("/") for folder in self.folders for name in self.hub_names)
        first = (self.converted,) if self.converted else ()
        exact = (*first, *copies, *self.other_names)
        stems = (name.removesuffix(SUFFIX) for name in exact if name.endswith(SUFFIX))
        full = [stem for stem in stems if not stem.endswith(HALVES)]
        halves = (f"{stem}{half}{SUFFIX}" for stem in full for half in HALVES)
        return tuple(dict.fromkeys((*exact, *halves)))

    @property
    def fetched(self) -> tuple[str, ...]:
        """Files of the first repository that `fetch` brings, the weights first."""
        return self.hub_names[:1] + self.more


@cache
def _shipped(name: str) -> Shapes:
    file = resources.files(__package__) / "manifests" / f"{name}.json.gz"
    if not file.is_file():
        return {}
    return {key: tuple(shape) for key, shape in json.loads(gzip.decompress(file.read_bytes())).items()}


SONIC_REPO = "LeonJoe13/Sonic"
SVD_REPO = "stabilityai/stable-video-diffusion-img2vid-xt"
SVD_REPOS = (SVD_REPO, f"{SVD_REPO}-1-1")
"""1.0 and 1.1: their VAE and image encoder have the same form and serve alike."""
SVD_FOLDERS = tuple(repo.split("/")[1] for repo in SVD_REPOS)
SVD_FILES = ("svd_xt.safetensors", "svd_xt_1_1.safetensors")
"""One-file checkpoints in the same repositories."""

SONIC_LICENCE = Licence(
    "CC BY-NC-SA 4.0",
    "Not for commercial use, and neither are the videos made with it; name the authors; share alike.",
    "https://creativecommons.org/licenses/by-nc-sa/4.0/",
)
SVD_LICENCE = Licence(
    "Stability AI Community License",
    "Commercial use only under Stability AI's conditions (registration, revenue limit); uses are restricted.",
    "https://stability.ai/license",
)
WHISPER_LICENCE = Licence(
    "Apache 2.0",
    "Free for any use; keep the notice.",
    "https://www.apache.org/licenses/LICENSE-2.0",
)
MIT_LICENCE = Licence("MIT", "Free for any use; keep the notice.", "https://opensource.org/license/mit")

UNET = Part(
    "unet",
    "Sonic UNet with audio adapters",
    "draws the frames",
    SONIC_LICENCE,
    (SONIC_REPO,),
    ("Sonic/unet.pth",),
    other_names=("unet.safetensors", "unet.pth"),
    # the folders of the WebUI's extensions and of ComfyUI
    patterns=tuple(
        f"{folder}/{below}{name}"
        for folder in ("unet", "diffusion_models")
        for below in ("", "*/")
        for name in ("*.safetensors", "*unet*.pth")
    ),
    converted="Sonic/unet.safetensors",
    signs=(r"^conv_in\.weight$", r"\.attn2\.processor\.to_k_ip\.0\.weight$"),
    about=6_300_000_000,
)
AUDIO2TOKEN = Part(
    "audio2token",
    "Sonic audio2token",
    "turns speech into tokens for the mouth",
    SONIC_LICENCE,
    (SONIC_REPO,),
    ("Sonic/audio2token.pth",),
    other_names=("audio2token.safetensors", "audio2token.pth"),
    converted="Sonic/audio2token.safetensors",
    signs=(r"^proj1\.weight$", r"^proj3\.weight$", r"^norm\.weight$"),
    about=217_000_000,
)
AUDIO2BUCKET = Part(
    "audio2bucket",
    "Sonic audio2bucket",
    "reads from the speech how much the head moves",
    SONIC_LICENCE,
    (SONIC_REPO,),
    ("Sonic/audio2bucket.pth",),
    other_names=("audio2bucket.safetensors", "audio2bucket.pth"),
    converted="Sonic/audio2bucket.safetensors",
    signs=(r"^proj1\.weight$", r"^proj3\.weight$"),
    about=87_000_000,
)
WHISPER = Part(
    "whisper",
    "Whisper tiny, encoder",
    "hears the speech",
    WHISPER_LICENCE,
    ("openai/whisper-tiny",),
    ("model.safetensors", "pytorch_model.bin"),
    folders=("whisper-tiny",),
    more=("config.json", "preprocessor_config.json"),
    converted="whisper-tiny/model.safetensors",
    signs=(r"^encoder\.conv1\.weight$", r"^encoder\.layer_norm\.weight$"),
    unused=("decoder.", "proj_out."),
    about=151_000_000,
)
VAE = Part(
    "vae",
    "Stable Video Diffusion VAE",
    "turns pictures into latents and back",
    SVD_LICENCE,
    SVD_REPOS,
    ("vae/diffusion_pytorch_model.fp16.safetensors", "vae/diffusion_pytorch_model.safetensors"),
    folders=SVD_FOLDERS,
    more=("vae/config.json",),
    single_file=True,
    signs=(r"^encoder\.conv_in\.weight$", r"^decoder\.time_conv_out\.weight$"),
    about=196_000_000,
)
IMAGE_ENCODER = Part(
    "image_encoder",
    "Stable Video Diffusion image encoder",
    "sees who is in the portrait",
    SVD_LICENCE,
    SVD_REPOS,
    ("image_encoder/model.fp16.safetensors", "image_encoder/model.safetensors"),
    folders=SVD_FOLDERS,
    more=("image_encoder/config.json",),
    single_file=True,
    signs=(r"^vision_model\.pre_layrnorm\.weight$", r"^visual_projection\.weight$"),
    about=1_264_000_000,
)
SCHEDULER = Part(
    "scheduler",
    "Stable Video Diffusion scheduler settings",
    "not needed, the same numbers are built in; compared when the file is there",
    SVD_LICENCE,
    SVD_REPOS,
    ("scheduler/scheduler_config.json",),
    folders=SVD_FOLDERS,
    required=False,
    kind=Kind.SETTINGS,
)
RIFE = Part(
    "rife",
    "RIFE HDv3 frame interpolation",
    "smooth motion at 25 frames a second; optical flow stands in for it",
    SONIC_LICENCE,
    (SONIC_REPO,),
    ("RIFE/flownet.pkl",),
    other_names=("rife/flownet.pkl", "flownet.safetensors", "flownet.pkl"),
    converted="RIFE/flownet.safetensors",
    required=False,
    signs=(r"^block0\.conv0\.0\.0\.weight$", r"^block2\.conv"),
    unused=("block_tea.",),
    about=12_000_000,
)
IMAGE_VAE = Part(
    "image_vae",
    "Stable Diffusion VAE, decoder",
    "decodes frame by frame (decoder=image)",
    MIT_LICENCE,
    ("stabilityai/sd-vae-ft-mse",),
    ("diffusion_pytorch_model.safetensors",),
    folders=("sd-vae-ft-mse",),
    more=("config.json",),
    other_names=("svd_xt_image_decoder.safetensors",),
    patterns=("VAE/*.safetensors", "vae/*.safetensors"),
    # SDXL's and later VAEs speak other latents
    not_named=r"(?i)xl|sd3|flux|(^|[-_])ae\.",
    required=False,
    signs=(r"^decoder\.up_blocks\.0\.resnets\.0\.conv1\.weight$", r"^post_quant_conv\.weight$"),
    channels=(("decoder.conv_in.weight", 4),),
    unused=("encoder.", "quant_conv."),
    about=335_000_000,
)
YOLOFACE = Part(
    "yoloface",
    "yoloface face detector",
    "another way to find the face; the built-in one is enough",
    SONIC_LICENCE,
    (SONIC_REPO,),
    ("yoloface_v5m.pt",),
    required=False,
    kind=Kind.TORCHSCRIPT,
)
PARTS = (UNET, AUDIO2TOKEN, AUDIO2BUCKET, WHISPER, VAE, IMAGE_ENCODER, SCHEDULER, RIFE, IMAGE_VAE, YOLOFACE)
REQUIRED = tuple(part for part in PARTS if part.required)

SCHEDULER_VALUES: Mapping[str, object] = {
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "interpolation_type": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "sigma_max": 700.0,
    "sigma_min": 0.002,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "use_karras_sigmas": True,
}
"""Stable Video Diffusion's `scheduler_config.json`."""
ON_PAGE = "the view Weights on Sonic's page"
"""In place of a command."""


def parts_named(names: Iterable[str]) -> tuple[Part, ...]:
    """Parts by their names, in the catalogue's order.

    Raises:
        BadSetting: there is no part of that name.
    """
    wanted = set(names)
    known = [part.name for part in PARTS]
    for name in sorted(wanted - set(known)):
        raise BadSetting(
            f"There is no part {name!r}.", f"Parts are: {', '.join(part.name for part in PARTS)}."
        )
    return tuple(part for part in PARTS if part.name in wanted)


def fetch_command(parts: Iterable[Part]) -> str:
    """What brings the parts: the command, or the page where there is no command."""
    if not _has_command():
        return ON_PAGE
    return f"sonic weights fetch {' '.join(part.name for part in parts)} --accept-licences"


@cache
def _has_command() -> bool:
    """Whether this package was installed; what a WebUI or ComfyUI loads from its folder has no command."""
    try:
        distribution("sonic-ext")
    except PackageNotFoundError:
        return False
    return True

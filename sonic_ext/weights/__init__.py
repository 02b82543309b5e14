"""The sonic engine's weights: what there is, where it lies, whether it fits, how it is brought and loaded.

    from sonic_ext import weights

    paths = weights.prepare(tick=tick)                 # found, pickles converted once; says what is missing
    weights.fill(unet, weights.UNET, paths["unet"], dtype=torch.float16, device="cuda")

Importing this package loads neither torch nor httpx; looking for files needs neither of them.
"""

from __future__ import annotations

from .catalogue import AUDIO2BUCKET as AUDIO2BUCKET
from .catalogue import AUDIO2TOKEN as AUDIO2TOKEN
from .catalogue import IMAGE_ENCODER as IMAGE_ENCODER
from .catalogue import IMAGE_VAE as IMAGE_VAE
from .catalogue import PARTS as PARTS
from .catalogue import REQUIRED as REQUIRED
from .catalogue import RIFE as RIFE
from .catalogue import SCHEDULER as SCHEDULER
from .catalogue import SCHEDULER_VALUES as SCHEDULER_VALUES
from .catalogue import UNET as UNET
from .catalogue import VAE as VAE
from .catalogue import WHISPER as WHISPER
from .catalogue import YOLOFACE as YOLOFACE
from .catalogue import Kind as Kind
from .catalogue import Licence as Licence
from .catalogue import Part as Part
from .catalogue import fetch_command as fetch_command
from .catalogue import parts_named as parts_named
from .checks import CheckReport as CheckReport
from .checks import Misfit as Misfit
from .checks import check as check
from .conversion import convert as convert
from .conversion import target_of as target_of
from .fetching import fetch as fetch
from .fetching import licence_text as licence_text
from .find import Finding as Finding
from .find import PartState as PartState
from .find import Search as Search
from .find import Survey as Survey
from .find import survey as survey
from .load import fill as fill
from .load import prepare as prepare
from .load import shapes as shapes
from .load import tensors as tensors
from .preconditions import Obstacle as Obstacle
from .preconditions import free_bytes as free_bytes
from .preconditions import obstacles as obstacles
from .record import identity as identity

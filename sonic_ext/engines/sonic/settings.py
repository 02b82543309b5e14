"""The sonic engine's own settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ...errors import BadSetting
from ...fields import Affects, EngineSettings, setting

MINIATURE = "miniature"
"""Value of `weights` for the set that comes with the extension."""


@dataclass(frozen=True)
class DiffusionSettings(EngineSettings):
    """What only a diffusion model needs.

    Raises:
        BadSetting: a value has the wrong type or lies outside its range.
    """

    sections: ClassVar[Mapping[str, str]] = {
        "quality": "Quality (sonic engine)",
        "sonic": "Speed and memory (sonic engine)",
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {"inference_steps": 15},
        "quality": {"inference_steps": 30},
        "published": {
            "inference_steps": 25,
            "schedule": "karras",
            "solver": "euler",
            "image_guidance_interval": None,
            "audio_guidance_interval": None,
            "shortcuts": "exact",
            "windows": "full",
        },
        "balanced": {
            "inference_steps": 10,
            "schedule": "align_your_steps",
            "solver": "dpmpp_2m",
            "image_guidance_interval": [0.5, 100.0],
        },
        "fast": {
            "inference_steps": 6,
            "schedule": "align_your_steps",
            "solver": "dpmpp_2m",
            "image_guidance_interval": [1.0, 10.0],
            "audio_guidance_interval": [1.0, 100.0],
        },
        "draft": {
            "inference_steps": 4,
            "schedule": "align_your_steps",
            "solver": "dpmpp_2m",
            "image_guidance_interval": [0.0, 0.0],
            "audio_guidance_interval": [1.0, 100.0],
        },
    }

    inference_steps: int = setting(
        25,
        "Inference steps",
        "Denoising steps of the sonic engine.",
        Affects.LATENTS,
        group="quality",
        low=1,
        high=50,
    )
    schedule: str = setting(
        "karras",
        "Schedule",
        "Noise levels of the steps: karras as published; align_your_steps was made for few steps, about 10.",
        Affects.LATENTS,
        group="quality",
        choices=("karras", "align_your_steps"),
    )
    solver: str = setting(
        "euler",
        "Solver",
        "How a step is taken: euler as published; dpmpp_2m and unipc also use what earlier steps found, "
        "which fewer steps need.",
        Affects.LATENTS,
        group="quality",
        choices=("euler", "dpmpp_2m", "unipc"),
    )
    audio_guidance: float = setting(
        7.5,
        "Audio guidance",
        "Guidance towards the speech (sonic engine).",
        Affects.LATENTS,
        group="quality",
        low=0.0,
        high=30.0,
    )
    image_guidance: float = setting(
        2.0,
        "Image guidance",
        "Guidance towards the portrait (sonic engine).",
        Affects.LATENTS,
        group="quality",
        low=0.0,
        high=30.0,
    )
    image_guidance_interval: tuple[float, float] | None = setting(
        None,
        "Image guidance interval",
        "Noise levels (sigma), low and high, within which image guidance works; elsewhere the branch without "
        "portrait is not computed. Empty is everywhere.",
        Affects.LATENTS,
        group="quality",
        length=2,
    )
    audio_guidance_interval: tuple[float, float] | None = setting(
        None,
        "Audio guidance interval",
        "Noise levels (sigma), low and high, within which audio guidance works; elsewhere the branch with "
        "the portrait alone is not computed. Empty is everywhere.",
        Affects.LATENTS,
        group="quality",
        length=2,
    )
    precision: str = setting(
        "auto",
        "Precision",
        "Numbers that the networks compute with; auto is fp16 on a graphics card and fp32 on a CPU; "
        "fp8 stores the weights in 8 bits; int8 multiplies matrices in whole numbers of 8 bits.",
        Affects.LATENTS | Affects.FRAMES,
        group="sonic",
        choices=("auto", "fp32", "fp16", "bf16", "fp8", "int8"),
    )
    memory: str = setting(
        "auto",
        "Memory",
        "together is fastest, branches takes a third of the working memory, offload also moves the network "
        "in layer by layer; auto picks by the memory that is free. Same video.",
        Affects.SPEED,
        group="sonic",
        choices=("auto", "together", "branches", "offload"),
    )
    shortcuts: str = setting(
        "exact",
        "Shortcuts",
        "exact computes everything; on all steps but the first of a group, null_branch leaves out a branch, "
        "deep_features the inner layers. Faster, not the same video.",
        Affects.LATENTS,
        group="sonic",
        choices=("exact", "null_branch", "deep_features", "both"),
    )
    cache_interval: int = setting(
        2,
        "Cache interval",
        "Steps of a group, where there are shortcuts: what its first step computes serves the others.",
        Affects.LATENTS,
        group="sonic",
        low=2,
        high=10,
    )
    cache_spacing: str = setting(
        "even",
        "Cache spacing",
        "even gives every group as many steps; widening makes as many groups, short at first and long at the "
        "end.",
        Affects.LATENTS,
        group="sonic",
        choices=("even", "widening"),
    )
    windows: str = setting(
        "full",
        "Windows",
        "Frames that the network draws together: full takes as many as published and draws some of the last "
        "window twice; even shares the frames evenly and draws none twice.",
        Affects.LATENTS,
        group="sonic",
        choices=("full", "even"),
    )
    cache_tolerance: float = setting(
        0.0,
        "Cache tolerance",
        "Where inner layers are left out: the share by which what they are given may have changed; beyond it "
        "they are computed after all. 0 leaves them out in any case.",
        Affects.LATENTS,
        group="sonic",
        low=0.0,
        high=1.0,
    )
    decoder: str = setting(
        "auto",
        "Decoder",
        "temporal is Stable Video Diffusion's own; image decodes frame by frame, with less memory and more "
        "flicker; host does so with the VAE of the WebUI's checkpoint, which then encodes too; auto is "
        "temporal where its file is installed and memory suffices, else host.",
        Affects.FRAMES,
        group="sonic",
        choices=("auto", "temporal", "image", "host"),
    )
    weights: str = setting(
        "installed",
        "Weights",
        "installed are those found on this computer, the published ones as a rule; miniature comes with the "
        "extension: trained on generated faces alone, it draws 128 pixels, on any processor.",
        Affects.LATENTS | Affects.FRAMES,
        group="sonic",
        choices=("installed", MINIATURE),
    )
    adapters: str = setting(
        "",
        "Adapters",
        "Name of audio adapters that `sonic train adapters` made, in the folder adapters of a models folder; "
        "empty for those of the weights.",
        Affects.LATENTS,
        group="sonic",
    )
    compiled: bool = setting(
        False,
        "Compile",
        "Compiles the network first: minutes at the start, faster steps.",
        Affects.LATENTS,
        group="sonic",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.solver != "euler" and self.inference_steps < 3:
            raise BadSetting(
                f"solver={self.solver} has nothing to go by in {self.inference_steps} steps: its first and "
                "its last are Euler's.",
                "Use inference_steps of 3 or more, or solver=euler.",
            )
        for interval in (self.image_guidance_interval, self.audio_guidance_interval):
            if interval is not None and not 0 <= interval[0] <= interval[1]:
                raise BadSetting(
                    f"Guidance cannot be confined to noise levels from {interval[0]:g} to {interval[1]:g}.",
                    "Give the lower one first, both 0 or more; 0, 0 is nowhere.",
                )

    def warnings(self) -> tuple[str, ...]:
        """See `SettingsBase.warnings`."""
        rules = (
            (
                self.inference_steps < 10 and self.schedule == "karras",
                "inference_steps below 10 gives blurred frames.",
            ),
            (self.inference_steps > 30, "inference_steps above 30 costs time for little."),
        )
        return (*super().warnings(), *(text for holds, text in rules if holds))

"""How large the miniature is, and what else comes with its weights.

Sonic's architecture (Ji et al., arXiv 2411.16331), every part with fewer channels: it is loaded, filled and
run by the same code as the published weights. Noise reaches from `SIGMA_MAX` to `SIGMA_MIN` instead of 700 to
0.002: of 128 pixels nothing is left under a noise of 80, and nothing is gained below 0.1.
"""

from __future__ import annotations

from typing import Any

from ...nn import clip, unet, vae, whisper

SIDE = 128
"""Pixels of a side of what the network draws: the face and little more."""
FACTOR = 8
"""Pixels per latent."""
WINDOW, SHIFT = 12, 5
"""Frames that the network sees at once, and by which windows begin earlier at each next step."""
MARGIN = 0.2
"""Room around the face's box, as a share of its sides."""
SIGMA_MAX, SIGMA_MIN = 80.0, 0.1
GROUPS = 8
"""Of channels that are normalized together: of as many as the published networks have, each would be one."""
WIDTH = 64
"""Of tokens and embeddings."""

UNET = unet.UNetConfig(
    channels=(32, 64, 64),
    heads=(1, 2, 2),
    attended=(True, True, True),
    layers=1,
    context=WIDTH,
    ids=32,
    groups=GROUPS,
)
VAE: dict[str, Any] = {
    **vae.CONFIG,
    "block_out_channels": [32, 32, 64, 64],
    "layers_per_block": 1,
    "sample_size": SIDE,
    "norm_num_groups": GROUPS,
}
CLIP: dict[str, Any] = {
    **clip.CONFIG,
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "projection_dim": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "patch_size": 32,
}
WHISPER: dict[str, Any] = {
    **whisper.CONFIG,
    "d_model": WIDTH,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 2 * WIDTH,
}
TOKEN = {
    "seq_len": 10,
    "blocks": WHISPER["encoder_layers"] + 1,
    "channels": WIDTH,
    "intermediate_dim": 128,
    "output_dim": WIDTH,
    "context_tokens": 8,
}
BUCKET = {
    "seq_len": 50,
    "blocks": 1,
    "channels": WIDTH,
    "clip_channels": WIDTH,
    "intermediate_dim": 48,
    "output_dim": 1,
    "context_tokens": 2,
}

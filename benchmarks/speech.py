"""The speech stage of the sonic engine: `python benchmarks/speech.py`.

Ten seconds of speech, 125 base frames, the published sizes with random weights, float32 on the CPU. Prints
seconds of the speech encoder's call, of everything else (spectrogram, windows, tokens, buckets), and of the
way frame by frame for comparison, which computes both audio networks once per frame.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sonic_ext.engines.sonic import speech
from sonic_ext.engines.sonic.conditioning import bucket_windows, token_windows
from sonic_ext.nn import audio, whisper

FRAMES, RATE = 125, 16_000


def filled(network: Any) -> Any:
    """Random weights that keep activations near 1."""
    network = network.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(1)
    for weight in network.state_dict().values():
        weight.normal_(0, weight[0].numel() ** -0.5 if weight.ndim > 1 else 0.02, generator=generator)
    return network


def best(run: Callable[[], Any], repeats: int) -> float:
    """Seconds of the fastest run."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return min(times)


def one_by_one(networks: speech.SpeechNetworks, states: torch.Tensor, portrait: torch.Tensor) -> None:
    """Tokens, unconditional tokens and buckets for every frame by itself."""
    windows, last = token_windows(states, FRAMES), bucket_windows(states[:, -1], FRAMES)
    for frame in range(FRAMES):
        networks.to_token(windows[frame : frame + 1])
        networks.to_token(torch.zeros_like(windows[frame : frame + 1]))
        networks.to_bucket(last[frame : frame + 1], portrait)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    networks = speech.SpeechNetworks(
        filled(whisper.build_whisper()),
        filled(audio.build_audio2token()),
        filled(audio.build_audio2bucket()),
    )
    sound = np.random.default_rng(1).normal(0, 0.1, 10 * RATE).astype(np.float32)
    portrait = torch.randn(1, 1024)
    with torch.inference_mode():
        mel = speech.log_mel(sound)
        states = speech.whisper_states(networks.whisper, [sound], 500)
        encoder = best(lambda: whisper.hidden_states(networks.whisper, mel), options.repeats)
        spectrogram = best(lambda: speech.log_mel(sound), options.repeats)
        rest = best(
            lambda: speech.speech_conditioning(networks, [states], len(states), portrait, FRAMES),
            options.repeats,
        )
        singly = best(lambda: one_by_one(networks, states, portrait), 1)
    print(f"speech encoder            {encoder:6.3f} s")
    print(f"spectrogram               {spectrogram:6.3f} s")
    print(f"tokens and buckets        {rest:6.3f} s")
    print(f"all but the encoder       {spectrogram + rest:6.3f} s")
    print(f"audio networks one by one {singly:6.3f} s")


if __name__ == "__main__":
    main()

"""Make the tiny codecs that ship with the package: real classes, small sizes, nothing to download.

    python scripts/make_tiny_codecs.py            # everything, about ten minutes on one core
    python scripts/make_tiny_codecs.py --only text

Writes the layout of a diffusers pipeline (`vae`, `text_encoder`, `tokenizer`) into lerobot_xwam/assets/tiny.
The VAE learns the tabletop world; the text encoder is random but seeded. The same seed gives the same data
and the same text encoder; training repeats up to the rounding of the machine's convolutions.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import torch
from making_codecs.tabletop_clips import HELD_OUT_SEED, tabletop_clips
from making_codecs.text import make_text
from making_codecs.vae import VaeSize, make_vae

SIZE = VaeSize(channels=16, encoder_width=16, decoder_width=16, levels=(1, 2, 2), shrink_time=(True, True))
TINY = Path(__file__).parents[1] / "lerobot_xwam" / "assets" / "tiny"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=TINY)
    parser.add_argument("--only", choices=["vae", "text"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenes", type=int, default=400, help="rendered for training, three clips each")
    parser.add_argument("--picture-steps", type=int, default=2500)
    parser.add_argument("--clip-steps", type=int, default=900)
    parser.add_argument("--threads", type=int, default=1, help="more help only on an idle machine")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=options.out) as workshop:
        if options.only != "vae":
            make_text(Path(workshop), options.seed)
        if options.only != "text":
            make_vae(
                Path(workshop),
                SIZE,
                tabletop_clips(options.scenes, options.seed),
                tabletop_clips(40, HELD_OUT_SEED),
                steps=(options.picture_steps, options.clip_steps),
                peaks=(0.006, 0.005),
                seed=options.seed,
            )
        for file in Path(workshop).rglob("*.safetensors"):
            file.chmod(0o644)  # safetensors writes files that only their owner can read
        for part in sorted(Path(workshop).iterdir()):
            shutil.rmtree(options.out / part.name, ignore_errors=True)
            part.rename(options.out / part.name)


if __name__ == "__main__":
    main()

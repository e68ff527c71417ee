"""Make the codecs of the `small` preset from demonstrations of the robosuite tasks.

    lerobot-xwam collect --task lift,stack,two_arm_lift --arms 2 --cameras front hand second \\
        --interface raw --episodes 60 --noise 0.5 --seed 500000 --out data/vae
    python scripts/make_small_codecs.py --dataset data/vae      # forty minutes on one core

Writes the layout of a diffusers pipeline (`vae`, `text_encoder`, `tokenizer`) into lerobot_xwam/assets/small.
The text half is that of the tiny codecs: random but seeded.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import torch
from making_codecs.dataset_clips import dataset_clips
from making_codecs.vae import VaeSize, make_vae

from lerobot_xwam.codecs.depth import DepthCodec
from lerobot_xwam.presets import PRESETS

ASSETS = Path(__file__).parents[1] / "lerobot_xwam" / "assets"
FRAMES = 5
SIZE = VaeSize(
    channels=32,
    encoder_width=16,
    decoder_width=24,
    levels=(1, 2, 2, 2),
    shrink_time=(False, True, True),
)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", type=Path, required=True, help="with depth; its last tenth measures")
    parser.add_argument("--out", type=Path, default=ASSETS / "small")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture-steps", type=int, default=4500)
    parser.add_argument("--clip-steps", type=int, default=1800)
    parser.add_argument("--threads", type=int, default=1, help="more help only on an idle machine")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    small = PRESETS["small"]
    codec = DepthCodec(small["depth_near"], small["depth_far"])
    seen = dataset_clips(options.dataset, codec, frames=FRAMES, every=4, episodes=(0.0, 0.9))
    unseen = dataset_clips(options.dataset, codec, frames=FRAMES, every=16, episodes=(0.9, 1.0))
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=options.out) as workshop:
        make_vae(
            Path(workshop),
            SIZE,
            seen,
            unseen,
            steps=(options.picture_steps, options.clip_steps),
            peaks=(0.006, 0.005),
            seed=options.seed,
        )
        for part in ("text_encoder", "tokenizer"):
            shutil.copytree(ASSETS / "tiny" / part, Path(workshop) / part)
        for file in Path(workshop).rglob("*.safetensors"):
            file.chmod(0o644)  # safetensors writes files that only their owner can read
        for part in sorted(Path(workshop).iterdir()):
            shutil.rmtree(options.out / part.name, ignore_errors=True)
            part.rename(options.out / part.name)


if __name__ == "__main__":
    main()

r"""Encode instructions once, so that training and robots need no text encoder (11 GB at 5 B).

The features are the encoder's own, bit for bit. The file knows which encoder made them: --policy.text_cache
refuses one of another encoder. A second run adds what is new; a stopped one goes on where it was. The empty
prompt, which training with text dropout and guidance need, is always in it.

Example:
  lerobot-xwam cache-text --codecs Wan-AI/Wan2.2-TI2V-5B-Diffusers --dataset me/my-data \
      --out prompts.safetensors
  lerobot-train --policy.text_cache=prompts.safetensors ...
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "text features of all instructions, in one file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--codecs", required=True, metavar="SRC", help="folder or Hub id, as --policy.codecs")
    parser.add_argument("--revision", help="of the codecs, if they are on the Hub")
    parser.add_argument("--dataset", nargs="+", default=[], help="dataset folders or Hub ids")
    parser.add_argument("--prompts", nargs="+", default=[], help="prompts, or text files with one per line")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="*.safetensors to write")
    parser.add_argument("--tokens", type=int, help="--policy.text_tokens (default: the preset's)")
    parser.add_argument(
        "--dtype", choices=("bfloat16", "float32"), help="--policy.dtype (default: the preset's)"
    )
    parser.add_argument("--device", help="default: cuda where there is one")


def run(arguments: argparse.Namespace) -> None:
    import torch
    from tqdm import tqdm

    from lerobot_xwam.codecs.encoder_identity import identify
    from lerobot_xwam.codecs.text import TextCodec, load_encoder
    from lerobot_xwam.codecs.text_cache import add_prompts
    from lerobot_xwam.presets import PRESETS

    if not arguments.dataset and not arguments.prompts:
        raise ValueError("which prompts? Give --dataset FOLDER_OR_ID ... or --prompts FILE_OR_TEXT ...")
    prompts = ["", *_prompts_of_datasets(arguments.dataset), *_prompts_given(arguments.prompts)]
    preset = next((p for p in PRESETS.values() if p["codecs"] == arguments.codecs), PRESETS["wan2.2-5b"])
    tokens = arguments.tokens or preset["text_tokens"]
    dtype = getattr(torch, arguments.dtype or preset["dtype"])
    device = torch.device(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))

    def load() -> tuple:
        return load_encoder(arguments.codecs, arguments.revision, dtype)

    codec = TextCodec(load, device, tokens)
    encoder = identify(arguments.codecs, arguments.revision, dtype, tokens)
    if encoder is None:
        _ = codec.encoder  # not at hand yet: this says what lacks, or downloads it
        encoder = identify(arguments.codecs, arguments.revision, dtype, tokens)
    if encoder is None:
        raise FileNotFoundError(f"--codecs {arguments.codecs}: no files of a text encoder found in it")
    with tqdm(desc="encoding prompts", unit="prompt", leave=False, total=len(set(prompts))) as bar:
        new, known = add_prompts(
            arguments.out, prompts, lambda prompt: codec.encode([prompt])[0], encoder, bar.update
        )
    size = arguments.out.stat().st_size / 1e6
    print(f"{len(new)} prompts encoded, {len(known)} were there: {arguments.out} ({size:.1f} MB)")
    print(f"use it with --policy.text_cache={arguments.out}")


def _prompts_of_datasets(names: list[str]) -> list[str]:
    from lerobot.datasets import LeRobotDatasetMetadata

    prompts: list[str] = []
    for name in names:
        local = Path(name).expanduser().is_dir()
        where = {"repo_id": "local/dataset", "root": name} if local else {"repo_id": name}
        prompts += [str(task) for task in LeRobotDatasetMetadata(**where).tasks.index]
    return prompts


def _prompts_given(texts: list[str]) -> list[str]:
    """A prompt may also be the name of a file that holds one per line; empty lines do not count."""
    prompts: list[str] = []
    for text in texts:
        if _is_file(text):
            prompts += [line for line in Path(text).read_text(encoding="utf-8").splitlines() if line.strip()]
        else:
            prompts.append(text)
    return prompts


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # too long for a name
        return False

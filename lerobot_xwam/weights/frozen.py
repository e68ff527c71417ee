"""The frozen VAE and text encoder of a release <-> a codecs folder in diffusers' layout.

CODECS/vae/           config.json, diffusion_pytorch_model.safetensors
CODECS/text_encoder/  config.json, model.safetensors
CODECS/tokenizer/     not in a release; google/umt5-xxl's or Wan's
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .account import Account
from .codec_configs import check_text_encoder, check_vae, text_encoder_config, vae_config
from .conversion import Conversion, refuse_strange_dtypes, refuse_unexplained
from .encoder_keys import Table, inverse, rename, text_encoder_table, vae_table
from .official_layout import TEXT, VAE, VAE_NORMS, Official, strangers
from .outgoing import Outgoing, carried, computed
from .safetensors_index import read_folder
from .stored import Stored

VAE_STEM, TEXT_STEM = "diffusion_pytorch_model", "model"
TIED = "encoder.embed_tokens.weight"  # transformers' second name for `shared.weight`


def explain_frozen(official: Official) -> None:
    """Every weight of the release that is not the network's must be one of the two encoders'."""
    vae, text = official.vae(), official.text_encoder()
    unknown = [VAE + name for name in strangers(vae, _vae_names(vae))]
    unknown += [TEXT + name for name in strangers(text, _text_names(text))]
    refuse_unexplained(official.path, unknown)


def plan_codecs(official: Official, tokenizer: Path | None) -> Conversion:
    """The release's own VAE and text encoder, for `--policy.codecs=FOLDER`."""
    vae, text = official.vae(), official.text_encoder()
    if not vae or not text or any(name not in official.frozen for name in VAE_NORMS):
        raise ValueError(
            f"{official.path}: holds no complete VAE and text encoder, so no codecs can be written. "
            "Leave --codecs-out away and use those of Wan-AI/Wan2.2-TI2V-5B-Diffusers"
        )
    if tokenizer is not None and not tokenizer.is_dir():
        raise FileNotFoundError(f"--tokenizer {tokenizer}: no such folder")
    account = Account(f"{official.path} -> VAE and text encoder as diffusers and transformers read them")
    mean, std = (official.frozen[name].read().double().flatten().tolist() for name in VAE_NORMS)
    configs = {
        "vae": _derived(official.path, "VAE", lambda: vae_config(vae, mean, std)),
        "text_encoder": _derived(official.path, "text encoder", lambda: text_encoder_config(text)),
    }
    files = {
        f"vae/{VAE_STEM}.safetensors": _renamed(vae, _vae_names(vae), VAE, account),
        f"text_encoder/{TEXT_STEM}.safetensors": _renamed(text, _text_names(text), TEXT, account),
    }
    vae_file, text_file = files.values()
    check_vae(configs["vae"], {tensor.name: tensor.shape for tensor in vae_file})
    check_text_encoder(configs["text_encoder"], {tensor.name: tensor.shape for tensor in text_file})
    for name in VAE_NORMS:
        account.drop(name, official.frozen[name], "written into vae/config.json")
    if tokenizer is None:
        account.notes.append(
            "A release holds no tokenizer: put umT5's into the folder as `tokenizer` before use, e.g. that "
            "of google/umt5-xxl or of Wan-AI/Wan2.2-TI2V-5B-Diffusers"
        )
    return Conversion(
        account,
        safetensors=files,
        texts={f"{part}/config.json": json.dumps(config, indent=2) for part, config in configs.items()},
        folders={"tokenizer": tokenizer} if tokenizer else {},
    )


def frozen_from_codecs(folder: Path, account: Account) -> list[Outgoing]:
    """A codecs folder's VAE and text encoder under the release's names."""
    config = _config(folder / "vae" / "config.json")
    vae = read_folder(folder / "vae", VAE_STEM)
    text = read_folder(folder / "text_encoder", TEXT_STEM)
    for part, held in (("vae", vae), ("text_encoder", text)):
        refuse_strange_dtypes(folder / part, held)
    try:
        stages, res_blocks = len(config["dim_mult"]), config["num_res_blocks"]
        norms = {name: config[f"latents_{name.removeprefix('vae.')}"] for name in VAE_NORMS}
    except KeyError as error:
        raise ValueError(
            f"{folder / 'vae' / 'config.json'}: does not say {error}; it is no AutoencoderKLWan"
        ) from error
    if (tied := text.pop(TIED, None)) is not None and "shared.weight" in text:
        account.drop(TIED, tied, "a second name of shared.weight")
    layers = len({name.split(".")[2] for name in text if name.startswith("encoder.block.")})
    tables = inverse(vae_table(stages, res_blocks)), inverse(text_encoder_table(layers))
    unknown = [*strangers(vae, tables[0]), *strangers(text, tables[1])]
    refuse_unexplained(folder, unknown)
    outgoing = []
    for prefix, held, table in ((VAE, vae, tables[0]), (TEXT, text, tables[1])):
        for name, stored in held.items():
            tensor = carried(prefix + rename(name, table), stored)
            account.keep(tensor, name, "frozen encoders, from the codecs folder")
            outgoing.append(tensor)
    like = next(iter(vae.values())).dtype
    for name, values in norms.items():
        tensor = computed(name, like, (len(values),), partial(torch.tensor, values))
        account.new(tensor, "from vae/config.json")
        outgoing.append(tensor)
    return outgoing


def _renamed(held: dict[str, Stored], table: Table, prefix: str, account: Account) -> list[Outgoing]:
    outgoing = []
    for name, stored in held.items():
        tensor = carried(rename(name, table), stored)
        account.keep(tensor, prefix + name, "VAE" if prefix == VAE else "text encoder")
        outgoing.append(tensor)
    return outgoing


def _vae_names(official: dict[str, Stored]) -> Table:
    stages = {name.split(".")[2] for name in official if name.startswith("encoder.downsamples.")}
    first = "encoder.downsamples.0.downsamples."
    blocks = {name.split(".")[4] for name in official if name.startswith(first) and ".residual." in name}
    return vae_table(len(stages), len(blocks))


def _text_names(official: dict[str, Stored]) -> Table:
    return text_encoder_table(len({name.split(".")[1] for name in official if name.startswith("blocks.")}))


def _derived(path: Path, part: str, derive: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return derive()
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise ValueError(f"{path}: the {part} is not complete ({error})") from error


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: not found; codecs have the layout of Wan-AI/Wan2.2-TI2V-5B-Diffusers"
        )
    return json.loads(path.read_text(encoding="utf-8"))

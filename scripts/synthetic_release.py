"""A file laid out like the authors' release, of any size, on almost no disk: for tests and benchmarks.

Every tensor has its real name, shape and dtype, and begins with numbers of its own; the rest of it is a hole
in the file, which reads as zeros.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from math import prod
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import UMT5Config, UMT5EncoderModel

from lerobot_xwam.model.sizes import TransformerSizes
from lerobot_xwam.planning.codecs import KNOWN
from lerobot_xwam.weights.conversion import Shapes, wanted_shapes
from lerobot_xwam.weights.encoder_keys import inverse, rename, text_encoder_table, vae_table
from lerobot_xwam.weights.keys import to_diffusers, to_official
from lerobot_xwam.weights.official_layout import MODEL, PLACE, TEXT, VAE
from lerobot_xwam.weights.pickle_index import read_checkpoint
from lerobot_xwam.weights.safetensors_index import read_file
from lerobot_xwam.weights.stored import FLOATS, Stored

BEGINNING = 512  # numbers at the start of a tensor that are not zero


def network_shapes(sizes: TransformerSizes) -> Shapes:
    return {MODEL + to_official(name): shape for name, shape in wanted_shapes(sizes).items()}


def encoder_shapes() -> Shapes:
    """VAE and text encoder of Wan2.2 under the release's names."""
    with torch.device("meta"):
        # float32 in the real release: with the network in bfloat16 this makes 38.9 GB
        vae = AutoencoderKLWan(**KNOWN["vae"]).state_dict()
        text = UMT5EncoderModel(UMT5Config(**KNOWN["text_encoder"])).state_dict()
    text.pop("encoder.embed_tokens.weight", None)
    names = inverse(vae_table()), inverse(text_encoder_table())
    shapes = {VAE + rename(name, names[0]): tuple(tensor.shape) for name, tensor in vae.items()}
    shapes |= {TEXT + rename(name, names[1]): tuple(tensor.shape) for name, tensor in text.items()}
    return shapes | {"vae.mean": (KNOWN["vae"]["z_dim"],), "vae.std": (KNOWN["vae"]["z_dim"],)}


def write_release(folder: Path, sizes: TransformerSizes, config: str, *, encoders: bool = False) -> Path:
    """`config`: text of config.yaml. -> the weights file"""
    path = folder / PLACE
    path.parent.mkdir(parents=True)
    (folder / "config.yaml").write_text(config, encoding="utf-8")
    with FakeTensorMode(), torch.serialization.skip_data(materialize_fake_tensors=True):
        module = {
            name: torch.empty(shape, dtype=torch.bfloat16) for name, shape in network_shapes(sizes).items()
        }
        if encoders:
            module |= {name: torch.empty(shape) for name, shape in encoder_shapes().items()}
        torch.save({"module": module, "global_steps": 1}, path)
    begin(path, read_checkpoint(path)["module"])
    return path


def write_wan(folder: Path, sizes: TransformerSizes, dtype: torch.dtype = torch.bfloat16) -> Path:
    """A diffusers repo of Wan in one shard. -> folder"""
    path = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    path.parent.mkdir(parents=True)
    described = {
        "_class_name": "WanTransformer3DModel",
        "num_attention_heads": sizes.heads,
        "num_layers": sizes.blocks,
    }
    (path.parent / "config.json").write_text(json.dumps(described), encoding="utf-8")
    shapes = {to_diffusers(name): shape for name, shape in wanted_shapes(sizes).items()}
    table, end = {}, 0
    for name, shape in shapes.items():
        if name is not None:
            start, end = end, end + prod(shape) * dtype.itemsize
            table[name] = {"dtype": FLOATS[dtype], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(table).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    begin(path, read_file(path))
    return folder


def begin(path: Path, tensors: Mapping[str, Stored]) -> None:
    """Give every tensor of a file of holes a beginning of its own."""
    with path.open("r+b") as file:
        for name, stored in tensors.items():
            numbers = torch.randn(
                min(BEGINNING, stored.nbytes // stored.dtype.itemsize), generator=_generator(name)
            )
            file.seek(stored.offset)
            file.write(numbers.to(stored.dtype).view(torch.uint8).numpy().tobytes())


def _generator(name: str) -> torch.Generator:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "little")
    return torch.Generator().manual_seed(seed)

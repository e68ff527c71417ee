"""The table of tensors of safetensors files, read without the tensors."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

import torch

from .stored import Stored

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
_LONGEST_HEADER = 100 * 2**20  # as in the safetensors library


def read_file(path: Path) -> dict[str, Stored]:
    """name -> tensor of one file, in the file's order."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, _LONGEST_HEADER):
            raise ValueError(f"{path}: no safetensors file, or it was cut off. Download it again")
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            tensors = {name: _stored(path, 8 + length, entry) for name, entry in header.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: its table of tensors cannot be read ({error})") from error
    cut_off = [name for name, tensor in tensors.items() if tensor.offset + tensor.nbytes > size]
    if cut_off:
        raise ValueError(
            f"{path}: {len(cut_off)} of {len(tensors)} tensors lie behind its end, e.g. {cut_off[0]}; "
            "it was cut off. Download it again"
        )
    return dict(sorted(tensors.items(), key=lambda entry: entry[1].offset))


def read_folder(folder: Path, stem: str) -> dict[str, Stored]:
    """The tensors of `stem.safetensors`, or of all shards that `stem.safetensors.index.json` names."""
    index, single = folder / f"{stem}.safetensors.index.json", folder / f"{stem}.safetensors"
    if not index.is_file():
        if not single.is_file():
            raise FileNotFoundError(f"{folder}: neither {single.name} nor {index.name} is in it")
        return read_file(single)
    try:
        placed: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = sorted(set(placed.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index}: no index of safetensors shards ({error})") from error
    if missing := [shard for shard in shards if not (folder / shard).is_file()]:
        raise FileNotFoundError(
            f"{folder}: {len(missing)} of {len(shards)} shards are missing: {', '.join(missing)}. "
            "Download them too"
        )
    tensors: dict[str, Stored] = {}
    for shard in shards:
        held = read_file(folder / shard)
        if twice := sorted(held.keys() & tensors.keys()):
            raise ValueError(f"{folder / shard}: {twice[0]} is also in another shard")
        tensors |= held
    if lost := sorted(placed.keys() ^ tensors.keys()):
        raise ValueError(f"{index}: does not agree with its shards on {len(lost)} tensors, e.g. {lost[0]}")
    return tensors


def _stored(path: Path, start: int, entry: dict) -> Stored:
    shape, (begin, end) = tuple(int(size) for size in entry["shape"]), entry["data_offsets"]
    if entry["dtype"] not in _DTYPES:
        raise ValueError(f"dtype {entry['dtype']} is unknown")
    dtype = _DTYPES[entry["dtype"]]
    if begin < 0 or min(shape, default=0) < 0 or end - begin != prod(shape) * dtype.itemsize:
        raise ValueError(f"shape {list(shape)} of {entry['dtype']} does not take {end - begin} bytes")
    return Stored(path, start + begin, dtype, shape)

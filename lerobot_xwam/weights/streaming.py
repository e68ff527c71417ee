"""Files written tensor by tensor: a safetensors file, whose table comes first, and a torch checkpoint."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import torch

from .outgoing import Outgoing
from .stored import FLOATS

Progress = Callable[[int], object]  # is told how many bytes more were written

_STORAGES = {
    torch.float32: torch.FloatStorage,
    torch.float16: torch.HalfStorage,
    torch.bfloat16: torch.BFloat16Storage,
}
_ALIGNED = 64  # torch maps checkpoints into memory and wants their tensors to begin at such multiples


def write_safetensors(path: Path, tensors: Sequence[Outgoing], progress: Progress) -> None:
    # Wide elements first, as the library does: every tensor then begins at a multiple of its element size.
    ordered = sorted(tensors, key=lambda tensor: -tensor.dtype.itemsize)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in ordered:
        begin, end = end, end + tensor.nbytes
        header[tensor.name] = {
            "dtype": FLOATS[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for tensor in ordered:
            for piece in _checked(tensor):
                file.write(piece)
                progress(len(piece))
        file.flush()
        os.fsync(file.fileno())


def write_checkpoint(path: Path, tree: dict[str, Any], progress: Progress) -> None:
    """A file that `torch.load(path, weights_only=True)` reads, with `Outgoing` in the places of tensors."""
    pickled = io.BytesIO()
    pickler = _Pickler(pickled)
    pickler.dump(tree)
    folder = path.stem
    with path.open("wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(f"{folder}/data.pkl", pickled.getvalue())
            archive.writestr(f"{folder}/byteorder", b"little")
            for key, tensor in enumerate(pickler.tensors):
                record = _record(f"{folder}/data/{key}", file.tell())
                with archive.open(record, "w", force_zip64=True) as data:
                    for piece in _checked(tensor):
                        data.write(piece)
                        progress(len(piece))
            archive.writestr(f"{folder}/version", b"3\n")
        file.flush()
        os.fsync(file.fileno())


def _checked(tensor: Outgoing) -> Iterator[memoryview]:
    written = 0
    for piece in tensor.pieces():
        written += len(piece)
        yield piece
    assert written == tensor.nbytes, f"{tensor.name}: {written} bytes instead of {tensor.nbytes}"


def _record(name: str, position: int) -> zipfile.ZipInfo:
    """A zip record whose data begin aligned: an extra field that means nothing fills the gap."""
    record = zipfile.ZipInfo(name)
    zip64_field, padding_head = 20, 4
    gap = -(position + 30 + len(name) + zip64_field + padding_head) % _ALIGNED
    record.extra = b"FB" + gap.to_bytes(2, "little") + bytes(gap)
    return record


class _Storage:
    """Stands for the data of a tensor in a pickle."""

    def __init__(self, key: int, tensor: Outgoing) -> None:
        self.key, self.tensor = key, tensor


class _Pickler(pickle.Pickler):
    """Writes the structure of a checkpoint as torch.save does: each tensor refers to a record of its own."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=2)
        self.tensors: list[Outgoing] = []

    def persistent_id(self, thing: Any) -> Any:
        if not isinstance(thing, _Storage):
            return None
        tensor = thing.tensor
        return "storage", _STORAGES[tensor.dtype], str(thing.key), "cpu", prod(tensor.shape)

    def reducer_override(self, thing: Any) -> Any:
        if not isinstance(thing, Outgoing):
            return NotImplemented
        self.tensors.append(thing)
        storage = _Storage(len(self.tensors) - 1, thing)
        stride = tuple(prod(thing.shape[i + 1 :]) for i in range(len(thing.shape)))
        no_gradient = False
        no_hooks: OrderedDict[Any, Any] = OrderedDict()
        return torch._utils._rebuild_tensor_v2, (storage, 0, thing.shape, stride, no_gradient, no_hooks)

"""The table of tensors of a torch checkpoint (.pt, .pth): neither code is run nor tensor data read.

torch's own `weights_only` unpickler reads the structure; in fake-tensor mode it leaves the data where it is
and notes the place. The places are then compared with the archive's own directory, because a table is only a
claim.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from .stored import Stored, rows_without_gaps

_LOCAL_HEADER = 30  # bytes before name and extra field of a zip record


def read_checkpoint(path: Path) -> Any:
    """The checkpoint's own nesting of dicts and lists, with `Stored` in the places of tensors."""
    records = _records(path)
    try:
        with FakeTensorMode():
            # Weights may have been saved from a GPU that is not here.
            tree = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(_refusal(path, error)) from error
    except (RuntimeError, EOFError, KeyError, AttributeError, TypeError, AssertionError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: cannot be read as a torch checkpoint ({first})") from error
    return _with_places(tree, path, records)


def _with_places(tree: Any, path: Path, records: Mapping[int, int]) -> Any:
    if isinstance(tree, Tensor):
        return _place(tree, path, records)
    if isinstance(tree, Mapping):
        return {key: _with_places(value, path, records) for key, value in tree.items()}
    if isinstance(tree, list | tuple | set):
        return [_with_places(value, path, records) for value in tree]
    return tree


def _place(tensor: Tensor, path: Path, records: Mapping[int, int]) -> Stored:
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise ValueError(f"{path}: holds a sparse or quantised tensor; only plain ones can be converted")
    storage = tensor.untyped_storage()
    start = int(vars(storage)["_checkpoint_offset"])  # torch's documented name for it
    if records.get(start) != storage.nbytes():
        raise ValueError(
            f"{path}: its table names a tensor of {storage.nbytes()} bytes at {start}, where the archive has "
            f"{records.get(start, 'none')}; the file is damaged or was repacked. Download it again"
        )
    shape, stride = tuple(tensor.shape), tuple(tensor.stride())
    place = Stored(
        path=path,
        offset=start + int(tensor.storage_offset()) * tensor.dtype.itemsize,
        dtype=tensor.dtype,
        shape=shape,
        stride=None if rows_without_gaps(shape, stride) else stride,
    )
    if place.offset + place.span > start + storage.nbytes():
        raise ValueError(
            f"{path}: a tensor of shape {list(shape)} reaches beyond its data; the file is damaged"
        )
    return place


def _records(path: Path) -> dict[int, int]:
    """Where the data of each record of the archive begins -> how long it is."""
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            orders = [name for name in archive.namelist() if name.endswith("/byteorder")]
            if orders and archive.read(orders[0]) != b"little":
                raise ValueError(f"{path}: was written on a big-endian machine; save it again on another")
            return {_data_start(file, record): record.file_size for record in archive.infolist()}
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(
            f"{path}: no torch checkpoint, or it was cut off ({path.stat().st_size} bytes; {error}). "
            "Download it again; files of torch before 1.6 must be saved again with a newer torch"
        ) from error


def _data_start(file: Any, record: zipfile.ZipInfo) -> int:
    if record.compress_type != zipfile.ZIP_STORED:
        raise zipfile.BadZipFile(f"{record.filename} is compressed")
    file.seek(record.header_offset)
    header = file.read(_LOCAL_HEADER)
    if len(header) < _LOCAL_HEADER or header[:4] != b"PK\x03\x04":
        raise zipfile.BadZipFile(f"{record.filename} has no header")
    name, extra = int.from_bytes(header[26:28], "little"), int.from_bytes(header[28:30], "little")
    return record.header_offset + _LOCAL_HEADER + name + extra


def _refusal(path: Path, error: pickle.UnpicklingError) -> str:
    try:
        wanted = torch.serialization.get_unsafe_globals_in_checkpoint(path)  # lists names, runs nothing
    except Exception:  # whatever a broken pickle may cause
        wanted = []
    if not wanted:
        return f"{path}: cannot be read as a checkpoint of weights ({str(error).splitlines()[-1]})"
    return (
        f"{path}: refused, because reading it would run code: it asks for {', '.join(sorted(wanted)[:5])}. "
        "Nothing of it was run. Weights need no code; take the file from a source you trust, where it holds "
        "only tensors, numbers and text"
    )

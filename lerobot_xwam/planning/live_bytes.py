"""Counting the bytes of all tensors that are alive, operation by operation."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode


class LiveBytes(TorchDispatchMode):
    """Inside of it every storage counts from the operation that made it until it is freed.

    It sees what autograd saves, what autocast casts and keeps, and what a backward pass makes on its way. It
    does not see what happens inside one kernel (workspaces), nor the gaps of an allocator.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive: dict[int, weakref.ref] = {}

    def hold(self, tensors: Iterable[Tensor]) -> int:
        """Count tensors that were there before. -> their bytes"""
        before = self.now
        for tensor in tensors:
            self._add(tensor)
        return self.now - before

    def restart_peak(self) -> None:
        self.peak = self.now

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in pytree.tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._add(leaf)
        return out

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._alive:
            return
        nbytes = storage.nbytes()
        self.now += nbytes
        self.peak = max(self.peak, self.now)
        self._alive[key] = weakref.ref(storage, self._forget(key, nbytes))

    def _forget(self, key: int, nbytes: int) -> Callable[[weakref.ref], None]:
        def forget(_: weakref.ref) -> None:
            self.now -= nbytes
            self._alive.pop(key, None)

        return forget

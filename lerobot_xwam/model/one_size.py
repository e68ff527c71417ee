"""Compiled for one batch size. Any other, such as the rest at an epoch's end, is computed uncompiled.

Compiling again takes a CPU a minute or two; an epoch has one odd batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class OneSize:
    """Remembers the batch size that came first."""

    def __init__(self) -> None:
        self.batch: int | None = None

    def way_of(self, block: nn.Module, batch: int) -> Callable[..., Any]:
        """How to call a compiled block for this many samples."""
        self.batch = self.batch or batch
        if batch == self.batch:
            return block

        def uncompiled(*args: Any, **more: Any) -> Any:
            with torch.compiler.set_stance("force_eager"):
                return block(*args, **more)

        return uncompiled

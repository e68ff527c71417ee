"""The running average of the weights (EMA): often better to act with than the last weights.

A checkpoint keeps both: `model.safetensors` (of an adapter: `adapter_model.safetensors`) has the raw weights,
which training goes on from exactly, and `ema.safetensors` the average, complete and with the same names.
`--policy.use_ema=true` loads the latter.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..files import appearing
from .sharding import will_be_sharded

EMA_FILE = "ema.safetensors"


def refuse_what_has_no_average() -> None:
    if will_be_sharded():
        raise ValueError(
            "ema_decay with FSDP: LeRobot saves from one process, which has only its shards of the average. "
            "Leave --policy.ema_decay away, or train without FSDP"
        )


class Average:
    """average <- d average + (1 - d) weights, in float32, with d = min(decay, (1 + n) / (10 + n)).

    The rising d forgets the first weights, which say nothing; n counts the updates and is saved.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.weights = {
            name: parameter.detach().float().clone()
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        }

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        now = dict(module.named_parameters())
        averages = list(self.weights.values())
        torch._foreach_lerp_(averages, [now[name].detach().float() for name in self.weights], 1 - decay)
        self.updates += 1

    def save(
        self,
        path: Path,
        *,
        others: Mapping[str, Tensor] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        """`others`: weights that go into the file as they are, because they are not trained. `names`: what
        the file calls the averages, where it calls them otherwise.
        """
        averages = {names[name] if names else name: average for name, average in self.weights.items()}
        whole = {name: tensor.detach() for name, tensor in (others or {}).items()} | averages
        with appearing(path) as place:
            save_file(
                {name: tensor.contiguous() for name, tensor in whole.items()},
                place,
                {"format": "pt", "updates": str(self.updates)},
            )

    def restore(self, path: Path, names: Mapping[str, str] | None = None) -> None:
        """Go on where a saved average was."""
        with safe_open(path, framework="pt") as file:
            self.updates = int((file.metadata() or {}).get("updates", 0))
            for name, average in self.weights.items():
                average.copy_(file.get_tensor(names[name] if names else name))

"""torchao's 8-bit AdamW, with a state that LeRobot can write and read: plain tensors and plain numbers.

LeRobot keeps tensors in safetensors, which knows no tensor subclass, and learning rates in JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torchao.optim import AdamW8bit as TorchaoAdamW8bit
from torchao.optim.subclass_8bit import OptimState8bit, get_qmap_signed, get_qmap_unsigned

CODES, SCALE = ".codes", ".scale"  # behind the name of the moment


class AdamW8bit(TorchaoAdamW8bit):
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        group["lr"] = float(group["lr"])  # torchao made it a tensor

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        rates = [group["lr"] for group in self.param_groups]
        on_cpu = all(p.device.type == "cpu" for group in self.param_groups for p in group["params"])
        try:
            for group, rate in zip(self.param_groups, rates, strict=True):
                group["lr"] = torch.tensor(rate, dtype=torch.float32)  # a number would be compiled in
            # On a CPU compiling takes minutes and saves nothing.
            with torch.compiler.set_stance("force_eager") if on_cpu else nullcontext():
                return super().step(closure)
        finally:
            for group, rate in zip(self.param_groups, rates, strict=True):
                group["lr"] = rate

    def state_dict(self) -> dict[str, Any]:
        whole = super().state_dict()
        return {**whole, "state": {index: _taken_apart(state) for index, state in whole["state"].items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        states = {index: _put_together(state) for index, state in state_dict["state"].items()}
        super().load_state_dict({**state_dict, "state": states})


def _taken_apart(state: dict[str, Any]) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, OptimState8bit):
            parts |= {name + CODES: value.codes, name + SCALE: value.scale}
        else:
            parts[name] = value
    return parts


def _put_together(parts: dict[str, Any]) -> dict[str, Any]:
    state = {name: value for name, value in parts.items() if not name.endswith((CODES, SCALE))}
    for name in (key.removesuffix(CODES) for key in parts if key.endswith(CODES)):
        codes, scale = parts[name + CODES], parts[name + SCALE]
        signed = name == "exp_avg"  # the second moment is a mean of squares
        qmap = torch.tensor(get_qmap_signed() if signed else get_qmap_unsigned(), device=codes.device)
        state[name] = OptimState8bit(codes, scale, qmap, signed, dtype=torch.float32)
    return state

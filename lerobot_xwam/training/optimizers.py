"""What LeRobot can save of an optimiser, with its moments in 8 bit: AdamW of torchao.

Two bytes per weight instead of eight: of 6.7 billion weights, 13 GB instead of 53.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass

import torch
from lerobot.optim import OptimizerConfig
from lerobot.optim.optimizers import OptimizerParams

from .sharding import will_be_sharded

# With torchao around, diffusers warns that it cannot read torchao's quantised weights. Nobody here does.
logging.getLogger("diffusers.quantizers.torchao.torchao_quantizer").setLevel(logging.ERROR)


@OptimizerConfig.register_subclass("xwam_adamw_8bit")
@dataclass
class AdamW8bitConfig(OptimizerConfig):
    lr: float = 3e-5
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 1e-2
    grad_clip_norm: float = 1.0

    def build(self, params: OptimizerParams) -> torch.optim.Optimizer:
        if will_be_sharded():
            raise ValueError(
                "optimizer_8bit does not go with FSDP: FSDP cannot gather its quantised state for a "
                "checkpoint. FSDP shards the optimiser already: leave --policy.optimizer_8bit away"
            )
        try:
            from .adamw_8bit import AdamW8bit
        except ImportError as error:
            raise ImportError(
                "--policy.optimizer_8bit=true needs torchao, which is not installed: "
                "pip install 'lerobot_policy_xwam[optim8bit]'"
            ) from error
        settings = asdict(self)
        settings.pop("grad_clip_norm")  # LeRobot clips
        return AdamW8bit(params, **settings)

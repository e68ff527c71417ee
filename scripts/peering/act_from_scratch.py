"""lerobot-train and lerobot-eval with an ACT whose ResNet can learn from scratch.

    python scripts/peering/act_from_scratch.py train --config_path=scripts/peering/act.json ...
    python scripts/peering/act_from_scratch.py eval --policy.path=... ...

LeRobot's ACT freezes its BatchNorm layers. With ImageNet weights that is right; with untrained ones they
normalise nothing, and no option changes it (`norm_layer` is written into the code). Here they are GroupNorm,
as LeRobot's diffusion policy has them with `use_group_norm`. Checkpoints need this wrapper to be read, too.
"""

from __future__ import annotations

import sys

from lerobot.policies.act import modeling_act
from torch import nn

CHANNELS_PER_GROUP = 16  # as in LeRobot's diffusion policy


def group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // CHANNELS_PER_GROUP, channels)


def main() -> None:
    """Command line."""
    if sys.argv[1:2] not in (["train"], ["eval"]):
        raise SystemExit(__doc__)
    modeling_act.FrozenBatchNorm2d = group_norm
    name = sys.argv.pop(1)
    sys.argv[0] = f"lerobot-{name}"
    if name == "train":
        from lerobot.scripts.lerobot_train import main as command
    else:
        from lerobot.scripts.lerobot_eval import main as command
    command()


if __name__ == "__main__":
    main()

"""The ready configurations for one GPU fit where their names say, by the estimate of `lerobot-xwam plan`."""

from __future__ import annotations

from pathlib import Path

import pytest
from lerobot.configs.train import TrainPipelineConfig

from lerobot_xwam import XWAMConfig
from lerobot_xwam.planning.codecs import codec_memory
from lerobot_xwam.planning.network import Load, bytes_of_8bit_moments, training_memory, with_8bit_moments
from lerobot_xwam.planning.tiers import parts_of, with_encoders

CONFIGS = Path(__file__).parent.parent / "configs"
VIEWS = 3
RESERVE = 1.5  # GB, as plan keeps free


def estimated(name: str) -> float:
    """GB of the recipe as it stands: its batch in the encoders, its passes in the network."""
    recipe = TrainPipelineConfig.from_pretrained(CONFIGS / f"{name}.json", cli_args=["--policy.device=cpu"])
    config = recipe.policy
    assert isinstance(config, XWAMConfig)
    load = Load(config.micro_batch or recipe.batch_size, VIEWS)
    memory = training_memory(config, load, adapter_rank=recipe.peft.r if recipe.peft else 0)
    if config.optimizer_8bit:
        memory = with_8bit_moments(memory, bytes_of_8bit_moments(config))
    codecs = codec_memory(config, Load(recipe.batch_size, VIEWS))
    parts = with_encoders(parts_of(memory), codecs, prompts_cached=bool(config.text_cache))
    return parts.total / 1e9


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "told"), [("lora_24gb", 22.0), ("lora_48gb", 33.4), ("lora_80gb", 36.2), ("full_80gb", 69.3)]
)
def test_a_recipe_fits_where_it_says(name: str, told: float) -> None:
    total = estimated(name)
    print(name, total)
    assert total <= int(name.split("_")[1].removesuffix("gb")) - RESERVE
    assert total == pytest.approx(told, abs=0.1)
    assert f"{told:.1f}" in (CONFIGS / "README.md").read_text()

"""The card that goes to the Hub with a trained policy: what it is, what it needs, how to run it. No invented
numbers.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from .configuration_xwam import XWAMConfig
from .presets import WAN22

PAPER = "2604.26694"


def render_model_card(
    config: XWAMConfig,
    dataset_repo_id: str | None,
    license: str | None,
    tags: list[str] | None,
    train_config: Any = None,
    dataset_meta: Any = None,
) -> ModelCard:
    """Only facts at hand are printed: the configuration, the training run and the dataset, where they are
    known.
    """
    lineage = config.base_weights or (WAN22.removesuffix("-Diffusers") if config.codecs == WAN22 else None)
    data = ModelCardData(
        license=license or "apache-2.0",
        library_name="lerobot",
        pipeline_tag="robotics",
        tags=sorted({"robotics", "lerobot", "xwam", "world-model", f"arxiv:{PAPER}", *(tags or [])}),
        model_name="xwam",
        datasets=dataset_repo_id,
        base_model=lineage
        if lineage and lineage.count("/") == 1 and not lineage.startswith((".", "/"))
        else None,
    )
    template = files("lerobot_xwam").joinpath("model_card.md").read_text(encoding="utf-8")
    return ModelCard.from_template(
        data,
        template_str=template,
        config=config,
        lineage=lineage,
        paper=PAPER,
        dataset=dataset_repo_id,
        repo_id=config.repo_id or "YOUR_NAME/YOUR_POLICY",
        training=train_config,
        episodes=dataset_meta.total_episodes if dataset_meta is not None else None,
        frames=dataset_meta.total_frames if dataset_meta is not None else None,
        fps=dataset_meta.fps if dataset_meta is not None else None,
    )

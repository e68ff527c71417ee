"""The card that goes to the Hub with a trained policy: what it is, what it needs, how to run it. No invented
numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from .configuration_xwam import XWAMConfig
from .evaluation_results import EvaluationResults
from .presets import WAN22

PAPER = "2604.26694"


@dataclass(frozen=True)
class CheckpointFacts:
    """What a checkpoint's files say of themselves."""

    parameters: int
    dtypes: list[str]
    bytes: int
    adapter_of: str | None = None  # base of a LoRA adapter; None: whole weights
    conversion: str | None = None  # title of the account that a conversion left


def render_model_card(
    config: XWAMConfig,
    dataset_repo_id: str | None,
    license: str | None,
    tags: list[str] | None,
    train_config: Any = None,
    dataset_meta: Any = None,
    *,
    repo_id: str | None = None,
    results: EvaluationResults | None = None,
    checkpoint: CheckpointFacts | None = None,
) -> ModelCard:
    """Only facts at hand are printed: the configuration, the training run, the dataset, the files and an
    evaluation, where they are known.
    """
    adapted = checkpoint.adapter_of if checkpoint else None
    lineage = (
        adapted
        or config.base_weights
        or (WAN22.removesuffix("-Diffusers") if config.codecs == WAN22 else None)
    )
    data = ModelCardData(
        license=license or "apache-2.0",
        library_name="lerobot",
        pipeline_tag="robotics",
        tags=sorted({"robotics", "lerobot", "xwam", "world-model", f"arxiv:{PAPER}", *(tags or [])}),
        model_name="xwam",
        datasets=dataset_repo_id,
        base_model=lineage if lineage and _is_hub_id(lineage) else None,
        eval_results=_measured(results) if results else None,
    )
    template = files("lerobot_xwam").joinpath("model_card.md").read_text(encoding="utf-8")
    return ModelCard.from_template(
        data,
        template_str=template,
        config=config,
        cameras=config.cameras if config.input_features else [],
        lineage=lineage,
        paper=PAPER,
        dataset=dataset_repo_id,
        repo_id=repo_id or config.repo_id or "YOUR_NAME/YOUR_POLICY",
        results=results,
        checkpoint=checkpoint,
        training=train_config,
        episodes=dataset_meta.total_episodes if dataset_meta is not None else None,
        frames=dataset_meta.total_frames if dataset_meta is not None else None,
        fps=dataset_meta.fps if dataset_meta is not None else None,
    )


def _measured(results: EvaluationResults) -> list[EvalResult]:
    """For the Hub's own display: one row per group of tasks."""
    groups = list(dict.fromkeys(task.group for task in results.tasks))
    rows = []
    for group in groups:
        tasks = [task for task in results.tasks if task.group == group]
        successes, episodes = (sum(getattr(t, name) for t in tasks) for name in ("successes", "episodes"))
        rows.append(
            EvalResult(
                task_type="robotics",
                dataset_type=group,
                dataset_name=group,
                metric_type="success_rate",
                metric_name=f"success rate in %, {episodes} episodes",
                metric_value=round(100 * successes / episodes, 2),
            )
        )
    return rows


def _is_hub_id(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not Path(name).is_dir()

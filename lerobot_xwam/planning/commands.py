"""The command line that does what a tier plans."""

from __future__ import annotations

import shlex

from ..configuration_xwam import XWAMConfig
from ..presets import PRESETS
from .tiers import RANK, Tier

WEIGHTS, DATASET = "WEIGHTS", "YOUR_NAME/DATASET"  # for the user to fill in
PROMPTS, LATENTS = "prompts.safetensors", "latents"
READY = {"tiny": "configs/tiny.json", "wan2.2-5b": "configs/real_robot.json"}
FSDP_CONFIG = "configs/accelerate_8gpu_fsdp.yaml"


def commands(tier: Tier, config: XWAMConfig, *, weights: str | None, batch: int, gpus: int) -> list[str]:
    """What to type, in order. `weights`: the checkpoint that was asked about, if one was."""
    settings = [*tier.settings, *([f"text_cache={PROMPTS}"] if tier.cached else [])]
    codecs = shlex.quote(config.codecs)
    before = [f"lerobot-xwam cache-text --codecs {codecs} --dataset {DATASET} --out {PROMPTS}"]
    if tier.use == "inference":
        act = ["lerobot-eval", f"--policy.path={weights or WEIGHTS}", *_flags(settings), "--env.type=ENV"]
        return [*(before if tier.cached else []), _line(act)]
    sizes = _sizes(config)
    train = [
        "--policy.type=xwam",
        f"--policy.base_weights={weights or WEIGHTS}",
        *_flags([*sizes, *settings]),
    ]
    train += [f"--dataset.repo_id={DATASET}", f"--batch_size={batch}", "--policy.push_to_hub=false"]
    if tier.how == "lora":
        train += ["--peft.method_type=LORA", f"--peft.r={RANK}", f"--peft.lora_alpha={RANK}"]
    if tier.cached:
        flags = _line(["--policy", weights] if weights else ["--config", READY[config.preset]])
        flags += "".join(f" --set {size}" for size in sizes if not size.startswith("preset="))
        train += [f"--policy.latent_cache={LATENTS}", f"--dataset.root={LATENTS}/dataset"]
        before.append(f"lerobot-xwam cache-latents {flags} --dataset {DATASET} --out {LATENTS}")
    return [*(before if tier.cached else []), " ".join([*_launch(tier, gpus), _line(train)])]


def _launch(tier: Tier, gpus: int) -> list[str]:
    if tier.how == "fsdp":
        return [
            f"accelerate launch --config_file {FSDP_CONFIG} --num_processes {gpus} $(which lerobot-train)"
        ]
    if gpus > 1:
        return [f"accelerate launch --multi_gpu --num_processes {gpus} $(which lerobot-train)"]
    return ["lerobot-train"]


def _sizes(config: XWAMConfig) -> list[str]:
    """What differs from the preset."""
    preset = PRESETS[config.preset]
    named = [] if config.preset == "wan2.2-5b" else [f"preset={config.preset}"]
    return named + [f"{key}={getattr(config, key)}" for key in preset if getattr(config, key) != preset[key]]


def _flags(settings: list[str], prefix: str = "--policy.") -> list[str]:
    return [prefix + setting for setting in settings]


def _line(words: list[str]) -> str:
    return " ".join(map(shlex.quote, words))

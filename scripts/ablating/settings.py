"""What all runs of an ablation share. Written down once; a folder never holds runs of two settings."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from robosuite_table import Scene

from lerobot_xwam.data.latent_store.fingerprint import value_mark
from lerobot_xwam.data.latent_store.manifest import DATASET, Manifest, differences, listed
from lerobot_xwam.files import appearing

FILE = "settings.json"
ABOUT = "meta/collected.json"  # seeds of the simulator, written by lerobot-xwam collect
PACKAGES = ("lerobot_policy_xwam", "lerobot", "torch")


def gather(
    config: Path,
    cache: Path,
    held_out: Path,
    held_out_episodes: list[int],
    *,
    steps: int | None,
    tasks: str,
    episodes: int,
    first_seed: int,
    stride: int | None,
    extra: list[str],
) -> dict[str, Any]:
    """Everything that a number in the table depends on, except the variant and the seed."""
    try:
        training = json.loads(config.read_text(encoding="utf-8"))
        policy, batch = training["policy"], int(training["batch_size"])
        sampling = {"video_steps": policy["video_steps"], "action_steps": policy["action_steps"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"--config {config}: wanted a configuration of lerobot-train with policy.video_steps, "
            f"policy.action_steps and batch_size, e.g. configs/small.json ({error})"
        ) from error
    manifest = Manifest.read(cache)
    if not manifest.depth:
        raise ValueError(
            f"--cache {cache}: made without depth, but three of the variants learn depth. Make one with "
            "lerobot-xwam cache-latents from a dataset with depth"
        )
    trained = _scenes(cache / DATASET, manifest.episodes)
    refuse_seen(trained, manifest, held_out, held_out_episodes)
    evaluated = {(task, first_seed + n) for task in tasks.split(",") for n in range(episodes)}
    if both := sorted(trained & evaluated):
        raise ValueError(f"--seed {first_seed}: {_named(both)} are scenes of the training data; use 1000000")
    return {
        "training": training,
        "training options": extra,
        "steps": steps or int(training["steps"]),
        "batch_size": batch,
        **sampling,
        "latents": manifest.identity,
        "training episodes": manifest.episodes,
        "known training scenes": len(trained),  # 0: the dataset does not tell its seeds
        "held out": {"dataset": str(held_out), "mark": _mark(held_out), "episodes": held_out_episodes},
        "held out stride": stride,
        "scene": _scene(held_out),
        "tasks": tasks,
        "episodes of each task": episodes,
        "first evaluation seed": first_seed,
        **{f"version of {name}": version(name) for name in PACKAGES},
    }


def keep(settings: dict[str, Any], out: Path) -> None:
    """Write them into a new folder; refuse a folder with runs of other settings."""
    settings = json.loads(json.dumps(settings))
    path = out / FILE
    if path.is_file():
        there = json.loads(path.read_text(encoding="utf-8"))
        if changes := list(differences(_flat(there), _flat(settings))):
            raise ValueError(
                f"{out} holds runs with other settings:{listed(changes)}\n"
                "One table compares like with like: choose another folder with --out"
            )
        return
    if out.is_dir() and any(not each.name.startswith(".") for each in out.iterdir()):
        raise ValueError(f"{out}: a folder with other things in it; choose another with --out")
    with appearing(path) as file:
        file.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def refuse_seen(
    trained: set[tuple[str, int]], manifest: Manifest, held_out: Path, episodes: list[int]
) -> None:
    """Held out means: not a recording, and not a scene of the simulator, that training saw."""
    source = Path(manifest.source["root"])
    seen = manifest.episodes
    if held_out.resolve() == source.resolve():
        both = [number for number in episodes if seen is None or number in seen]
        if both:
            raise ValueError(
                f"--held-out {held_out}: episodes {both} were trained on. Give another dataset, or cache "
                "only some episodes (cache-latents --episodes) and hold the others out (--held-out-episodes)"
            )
    if both := sorted(trained & _scenes(held_out, episodes)):
        raise ValueError(
            f"--held-out {held_out}: {_named(both)} are scenes of the training data. Collect others with "
            "another --seed"
        )


def _named(scenes: list[tuple[str, int]]) -> str:
    first = ", ".join(f"{task} {seed}" for task, seed in scenes[:3])
    return first if len(scenes) <= 3 else f"{first} and {len(scenes) - 3} more"


def _scenes(root: Path, episodes: list[int] | None) -> set[tuple[str, int]]:
    """(task, seed) of episodes collected in the simulator; of other datasets nothing is known."""
    if not (root / ABOUT).is_file():
        return set()
    held = json.loads((root / ABOUT).read_text(encoding="utf-8"))["episodes"]
    chosen = range(len(held)) if episodes is None else episodes
    return {(held[number]["task"], int(held[number]["seed"])) for number in chosen}


def _scene(root: Path) -> dict[str, Any]:
    """How the simulator was set up when this was collected: so it is set up to evaluate."""
    about = root / ABOUT
    known = json.loads(about.read_text(encoding="utf-8")).get("settings") if about.is_file() else None
    if known is None:
        return asdict(Scene())
    return asdict(Scene(",".join(known["cameras"]), known["arms"], known["interface"]))


def _mark(root: Path) -> str:
    """Which dataset it is: its description, however often it is copied."""
    info = root / "meta/info.json"
    if not info.is_file():
        raise ValueError(f"--held-out {root}: no LeRobotDataset here (no meta/info.json)")
    parts = {p.name: p.read_text(encoding="utf-8") for p in (info, root / "meta/stats.json") if p.is_file()}
    return value_mark(parts)


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"training": {"seed": 0}} -> {"training.seed": 0}"""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    flat.pop("held out.dataset", None)  # it may be moved; what it is, the mark says
    return flat

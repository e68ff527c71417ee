"""What was measured, as one JSON, one table to read, and a picture."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..files import appearing
from .machine import Machine
from .stages import Stage
from .variants import Variant

MS = 1e3


def as_json(
    machine: Machine,
    subject: dict[str, Any],
    stages: list[Stage],
    variants: list[Variant],
    peers: dict[str, Any],
    left_out: list[str],
    **more: Any,
) -> dict[str, Any]:
    exact = next((v.timing.median for v in variants if v.name == "exact" and v.timing), None)
    return {
        "machine": asdict(machine),
        "subject": subject,
        "stages": [
            {
                **asdict(stage),
                "limit": stage.limit,
                "of_floor": stage.floor / stage.timing.median,
                "in_a_chunk": stage.times * stage.timing.median,
            }
            for stage in stages
        ],
        "variants": [
            {
                **asdict(variant),
                "ratio_to_exact": variant.timing.median / exact if variant.timing and exact else None,
            }
            for variant in variants
        ],
        "peers": peers,
        "left_out": left_out,
        **more,
    }


def write_json(report: dict[str, Any], path: Path) -> None:
    with appearing(path) as place:
        place.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def table(report: dict[str, Any]) -> str:
    machine, subject = report["machine"], report["subject"]
    lines = [
        f"{machine['name']}, {machine['device']}, {machine['threads']} thread(s), torch {machine['torch']}",
        f"  at best {machine['flops'] / 1e12:.3g} TFLOP/s in {subject['dtype']} products, "
        f"{machine['bytes'] / 1e9:.3g} GB/s",
        f"{subject['name']}: batch {subject['batch']}, {subject['views']} views of {subject['height']}x"
        f"{subject['width']}, {subject['action_steps']} of {subject['video_steps']} steps, "
        f"{subject['parameters'] / 1e6:.3g} M parameters",
    ]
    if report["stages"]:
        lines += [
            "",
            f"{'stage':28}{'ms':>9}{'a chunk':>9}{'GFLOP':>10}{'launches':>10}{'of floor':>10}  limit",
        ]
    for stage in report["stages"]:
        share = f"{stage['in_a_chunk'] * MS:.2f}" if stage["times"] else "-"
        lines.append(
            f"{stage['name']:28}{stage['timing']['median'] * MS:9.2f}{share:>9}"
            f"{stage['work']['flops'] / 1e9:10.3f}{stage['work']['operations']:10d}"
            f"{100 * stage['of_floor']:9.0f}%  {stage['limit']}"
        )
    if report["variants"]:
        lines += [
            "",
            f"{'chunk':28}{'ms':>9}{'x exact':>9}{'GFLOP':>10}{'launches':>10}  error (std of actions)",
        ]
    for each in report["variants"]:
        took = (
            f"{each['timing']['median'] * MS:9.2f}{each['ratio_to_exact']:9.2f}"
            if each["timing"]
            else f"{'-':>9}{'-':>9}"
        )
        work = (
            f"{each['work']['flops'] / 1e9:10.3f}{each['work']['operations']:10d}"
            if each["work"]
            else f"{'-':>10}{'-':>10}"
        )
        lines.append(f"{each['name']:28}{took}{work}  {each['error']:.1e} {each['note']}".rstrip())
    for name, peer in report["peers"].items():
        ratio = peer["ours_least_ms"] / peer["least_ms"]  # a busy machine spoils medians
        per_flop = ratio * peer["gflop"] / peer["ours_gflop"]
        lines.append(
            f"{name}: {peer['ms']:.2f} ms a pass, ours {peer['ours_ms']:.2f} ms; at best "
            f"{peer['least_ms']:.2f} and {peer['ours_least_ms']:.2f} ms (ratio {ratio:.2f}, per FLOP "
            f"{per_flop:.2f}); {peer['gflop']:.3f} and {peer['ours_gflop']:.3f} GFLOP, "
            f"{peer['operations']} and {peer['ours_operations']} launches; a time for every token in both"
        )
    if cache := report.get("video_cache"):
        lines.append(
            f"turbo: video cache {cache['threshold']:g}: {cache['skipped']} of {cache['of_steps']} video "
            f"steps skipped, error of the video {cache['error']:.1e} std"
        )
    if training := report.get("training"):
        lines += ["", *_training(training)]
    if cached := report.get("training_from_latents"):
        lines += ["", "the same from latents", *_training(cached)]
        lines.append(f"{report['times_faster_from_latents']:.2f} times the samples/s from latents")
    lines += [f"left out: {why}" for why in report["left_out"]]
    lines += [f"advice: {what}" for what in report.get("advice", [])]
    return "\n".join(lines)


def _training(training: dict[str, Any]) -> list[str]:
    seconds, total = training["seconds"], training["step"]
    lines = [f"{'training, a step':28}{'ms':>9}{'share':>9}"]
    lines += [f"{name:28}{each * MS:9.2f}{100 * each / total:8.0f}%" for name, each in seconds.items()]
    lines.append(
        f"{training['samples_per_s']:.2f} samples/s in batches of {training['batch']}, {training['workers']} "
        f"worker(s); the loader's share is {100 * training['loader_share']:.0f}%, "
        f"a sample {training['sample_s'] * MS:.1f} ms in one process ({training['video_backend']})"
    )
    return lines


def draw(report: dict[str, Any], path: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ValueError("--plot needs matplotlib: pip install 'lerobot_policy_xwam[world]'") from error
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    stages = [stage for stage in report["stages"] if stage["times"]]
    names = [stage["name"] for stage in stages]
    left.barh(names, [stage["in_a_chunk"] * MS for stage in stages], color="tab:blue", label="measured")
    floors = [stage["floor"] * stage["times"] * MS for stage in stages]
    left.barh(names, floors, height=0.3, color="tab:orange", label="at best on this machine")
    left.set(title="a chunk's stages, ms")
    left.invert_yaxis()
    left.legend()
    timed = [each for each in report["variants"] if each["timing"]]
    colours = ["tab:blue" if each["exact"] else "tab:green" for each in timed]
    right.barh(
        [each["name"] for each in timed], [each["timing"]["median"] * MS for each in timed], color=colours
    )
    right.set(title="a chunk, ms; green changes it")
    right.invert_yaxis()
    figure.suptitle(f"{report['subject']['name']} on {report['machine']['name']}")
    with appearing(path) as place:
        figure.savefig(place, format="png", dpi=110)

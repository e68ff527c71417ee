"""`lerobot-xwam bench`: figures that fit together, for acting and for training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import ONE_CAMERA, SMALL, dataset_root

from lerobot_xwam.benching import machine as machines
from lerobot_xwam.benching.clock import take_turns
from lerobot_xwam.benching.counting import work_of
from lerobot_xwam.benching.rounded import to_fp8_and_back
from lerobot_xwam.cli.main import main

SIZES = ("height", "width", "num_frames", "dim", "ffn_dim", "heads", "blocks", "depth_blocks", "time_dim")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "PATIENCE_S", 0.1)


def bench(*arguments: str, **settings: Any) -> int:
    sets = {**{name: SMALL[name] for name in SIZES}, **settings}
    words = [f"--set={name}={value}" for name, value in sets.items()]
    return main(["bench", "--device", "cpu", "--repeats", "1", *words, *arguments])


def test_a_chunk_is_taken_apart(tmp_path: Path, capsys) -> None:
    out, plot = tmp_path / "bench.json", tmp_path / "bench.png"
    assert bench("--out", str(out), "--plot", str(plot), video_steps=30, action_steps=4) == 0
    printed, said = capsys.readouterr().out, json.loads(out.read_text())
    assert said["machine"]["name"] in printed and said["machine"]["flops"] > 0
    assert plot.read_bytes().startswith(b"\x89PNG")

    stages = {stage["name"]: stage for stage in said["stages"]}
    assert all(
        stage["timing"]["median"] > 0 and stage["floor"] > 0 for n, stage in stages.items() if "network" in n
    )
    assert stages["network, a step"]["times"] == 3 and stages["network, with depth"]["times"] == 0
    flops = {name: stage["work"]["flops"] for name, stage in stages.items()}
    assert flops["network, last action step"] < flops["network, a step"] < flops["network, with depth"]

    variants = {variant["name"]: variant for variant in said["variants"]}
    plain, exact = variants["plain"], variants["exact"]
    assert plain["error"] < 1e-5 and exact["error"] == 0 and exact["ratio_to_exact"] == 1
    assert exact["work"]["flops"] < 0.8 * plain["work"]["flops"]
    # What a chunk computes is what its stages compute, but for the prompt, which was read before.
    parts = sum(stage["times"] * stage["work"]["flops"] for stage in stages.values())
    assert parts == pytest.approx(exact["work"]["flops"], rel=0.02)
    for name in ("turbo: frozen video", "turbo: 2 action steps", "turbo: FP8"):
        assert not variants[name]["exact"] and 0 < variants[name]["error"] < 1
    assert variants["turbo: FP8"]["timing"] is None and "not run" in variants["turbo: FP8"]["note"]
    assert variants["turbo: frozen video"]["work"]["flops"] < exact["work"]["flops"]
    peer = said["peers"]["diffusers' WanTransformer3DModel"]
    assert 0 < peer["least_ms"] <= peer["ms"] and 0 < peer["ours_least_ms"] <= peer["ours_ms"]
    assert peer["gflop"] > 0 and peer["ours_operations"] > 0
    assert "per FLOP" in printed and said["video_cache"]["of_steps"] == 26


def test_what_cannot_run_is_said(capsys) -> None:
    assert bench("--no-peers", video_steps=4, action_steps=4) == 0
    printed = capsys.readouterr().out
    assert "left out: turbo: frozen video: turbo_frozen_video: in 4 of 4 steps" in printed


def test_a_training_step_and_its_loader(tmp_path: Path, capsys) -> None:
    config = tmp_path / "train.json"
    config.write_text(json.dumps({"policy": {"type": "xwam", **SMALL}}))
    out = tmp_path / "bench.json"
    arguments = [
        "--train",
        "--config",
        str(config),
        "--dataset",
        str(dataset_root(ONE_CAMERA)),
        "--batch",
        "2",
    ]
    assert main(["bench", "--device", "cpu", "--repeats", "1", "--out", str(out), *arguments]) == 0
    said = json.loads(out.read_text())["training"]
    assert sum(said["seconds"].values()) == pytest.approx(said["step"])
    assert all(each > 0 for each in said["seconds"].values())
    assert 0 < said["loader_share"] < 1 and said["batch"] == 2
    assert "the loader's share is" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--train"], "name it with --dataset"),
        (["--batch", "0"], "use 1 or more"),
        (["--train", "--dataset", "x", "--plot", "a.png"], "there are none with --train"),
    ],
)
def test_refused_in_words(arguments: list[str], words: str, capsys) -> None:
    assert main(["bench", *arguments]) == 1
    assert words in capsys.readouterr().err


def test_counts_are_those_of_the_work() -> None:
    a, b = torch.randn(8, 16), torch.randn(16, 4)
    work = work_of(lambda: (a.T.T @ b).relu())
    assert (work.flops, work.operations) == (2 * 8 * 16 * 4, 2)  # transposing computes nothing


def test_variants_take_turns_after_a_warm_up() -> None:
    order: list[str] = []
    timings = take_turns({name: lambda n=name: order.append(n) for name in "ab"}, CPU, 3, "test")
    assert order == ["a", "b"] * 4 and timings["a"].count == 3


def test_rounding_to_8_bits_is_relative_to_the_row() -> None:
    x = torch.tensor([[1.0, 0.3, -0.7], [1000.0, 300.0, -700.0]])
    rounded = to_fp8_and_back(x)
    torch.testing.assert_close(rounded[1], 1000 * rounded[0])
    assert (rounded - x).abs().max() > 0 and torch.allclose(rounded, x, rtol=2**-4)

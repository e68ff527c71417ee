"""scripts/ablation.py: what is compared, that nothing is measured twice or mixed, and honest tables."""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import forked
import pytest
import resumable
import stages
from ablating import measuring, settings
from ablating.estimate import GUESS, START_S, Timings, in_words
from ablating.measuring import Workshop, export, perform
from ablating.report import write_report
from ablating.results import Mean, Result
from ablating.variants import DEPTH, NOISE, VARIANTS, Run, all_runs
from stages import StageFailed

from lerobot_xwam.data.latent_store.manifest import Manifest
from lerobot_xwam.files import held

ROOT = Path(__file__).parent.parent
CONFIG = {
    "policy": {"type": "xwam", "video_steps": 20, "action_steps": 5},
    "dataset": {"repo_id": "local/toy"},
    "batch_size": 8,
    "steps": 40,
}


# --- what is compared


def test_synchronous_acts_with_as_many_steps_as_the_video_takes() -> None:
    sampling = {name: variant.policy(20, 5) for name, variant in VARIANTS.items()}
    assert sampling["synchronous"] == {
        "depth": "interleaved",
        "noise_law": "synchronous",
        "video_steps": 20,
        "action_steps": 20,
    }
    assert {name for name, each in sampling.items() if each["action_steps"] == 5} == {
        *("none", "sequence", "channel", "interleaved", "decoupled")
    }


def test_the_full_method_is_trained_once_for_both_tables() -> None:
    assert DEPTH["interleaved"] is NOISE["ANS"] and len(VARIANTS) == len(DEPTH) + len(NOISE) - 1
    names = [run.name for run in all_runs(["none", "channel"], 2)]
    assert names == ["none-0", "channel-0", "none-1", "channel-1"]  # whole rows first


# --- statistics


def test_standard_error_is_that_of_the_mean() -> None:
    mean = Mean.of([1.0, 2.0, 6.0])
    assert mean is not None and mean.mean == 3.0 and mean.count == 3
    assert mean.error == pytest.approx(math.sqrt(7.0 / 3.0))  # sample variance (4 + 1 + 9) / 2 = 7
    one = Mean.of([5.0])
    assert one is not None and one.error is None  # of one seed nothing is known about the spread
    assert Mean.of([]) is None


# --- settings


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Any]:
    """A configuration, a latent cache of episodes 0 and 1, and another dataset that is held out."""
    config = tmp_path / "config.json"
    config.write_text(json.dumps(CONFIG))
    scenes = [("lift", 0), ("stack", 0), ("lift", 1)]
    dataset(tmp_path / "train", scenes)
    dataset(tmp_path / "cache/dataset", scenes)
    dataset(tmp_path / "held-out", [("lift", 700), ("stack", 700)])
    save_manifest(tmp_path / "cache", tmp_path / "train", [0, 1])
    return {
        "config": config,
        "cache": tmp_path / "cache",
        "held_out": tmp_path / "held-out",
        "held_out_episodes": [0, 1],
        "steps": None,
        "tasks": "lift,stack",
        "episodes": 10,
        "first_seed": 1000,
        "stride": None,
        "extra": [],
    }


def dataset(root: Path, scenes: list[tuple[str, int]]) -> None:
    (root / "meta").mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps({"total_episodes": len(scenes)}))
    held = {"episodes": [{"task": task, "seed": seed} for task, seed in scenes]}
    (root / "meta/collected.json").write_text(json.dumps(held))


def save_manifest(cache: Path, source: Path, episodes: list[int] | None, depth: bool = True) -> None:
    Manifest(
        parts={},
        variants=1,
        seed=0,
        dtype="float32",
        ranges=[[0, 10]],
        episodes=episodes,
        per_shard=10,
        shape=[4, 2, 1, 2, 2],
        depth=depth,
        camera_features={},
        source={"root": str(source)},
    ).save(cache)


def test_everything_a_number_depends_on_is_recorded(inputs: dict[str, Any]) -> None:
    known = settings.gather(**inputs)
    assert known["steps"] == 40 and known["batch_size"] == 8 and known["training"] == CONFIG
    assert known["training episodes"] == [0, 1] and known["known training scenes"] == 2
    assert known["latents"] == Manifest.read(inputs["cache"]).identity
    assert {"version of lerobot", "version of torch", "version of lerobot_policy_xwam"} <= known.keys()


def test_the_simulator_shows_what_it_showed_when_data_was_collected(
    inputs: dict[str, Any], tmp_path: Path
) -> None:
    shipped = {"cameras": "front,hand,second", "arms": 2, "interface": "raw"}
    assert settings.gather(**inputs)["scene"] == shipped  # the dataset does not tell
    about = tmp_path / "held-out/meta/collected.json"
    collected = {"cameras": ["front", "hand"], "arms": 0, "interface": "ee", "size": [96, 128]}
    about.write_text(json.dumps({**json.loads(about.read_text()), "settings": collected}))
    known = settings.gather(**inputs)
    workshop = Workshop(tmp_path, Path("c"), Path("l"), Path("h"), known, Timings(tmp_path / "t"))
    success, _ = workshop.measurements(Run(VARIANTS["none"], 0))[0]
    assert {"--env.cameras=front,hand", "--env.arms=0", "--env.interface=ee"} <= set(success.command)


def test_what_training_saw_is_not_held_out(inputs: dict[str, Any], tmp_path: Path) -> None:
    own = {**inputs, "held_out": tmp_path / "train"}
    with pytest.raises(ValueError, match=r"episodes \[1\] were trained on"):
        settings.gather(**{**own, "held_out_episodes": [1, 2]})
    assert settings.gather(**{**own, "held_out_episodes": [2]})  # it was not cached
    dataset(tmp_path / "again", [("stack", 0)])
    with pytest.raises(ValueError, match=r"stack 0 are scenes of the training data"):
        settings.gather(**{**inputs, "held_out": tmp_path / "again", "held_out_episodes": [0]})
    with pytest.raises(ValueError, match="--seed 0: lift 0, stack 0 are scenes of the training data"):
        settings.gather(**{**inputs, "first_seed": 0})


def test_a_cache_without_depth_cannot_serve_all(inputs: dict[str, Any], tmp_path: Path) -> None:
    save_manifest(inputs["cache"], tmp_path / "train", None, depth=False)
    with pytest.raises(ValueError, match="made without depth"):
        settings.gather(**inputs)


def test_settings_are_not_mixed(inputs: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "out"
    known = settings.gather(**inputs)
    settings.keep(known, out)
    settings.keep(known, out)
    (tmp_path / "held-out").rename(tmp_path / "moved")
    inputs["held_out"] = tmp_path / "moved"
    settings.keep(settings.gather(**inputs), out)  # it is the same one
    longer = {**CONFIG, "policy": {**CONFIG["policy"], "optimizer_lr": 1e-3}}
    inputs["config"].write_text(json.dumps(longer))
    with pytest.raises(ValueError, match="holds runs with other settings") as error:
        settings.keep(settings.gather(**{**inputs, "steps": 50}), out)
    assert "steps: was 40, is 50" in str(error.value)
    assert "training.policy.optimizer_lr: is new" in str(error.value)
    with pytest.raises(ValueError, match="a folder with other things in it"):
        settings.keep(known, tmp_path)


def test_one_at_a_time(tmp_path: Path) -> None:
    def another() -> None:
        with held(tmp_path / "out"):
            pass

    with held(tmp_path / "out"):
        ended = forked.run(another, tmp_path / "log")
    assert ended.code != 0 and "is being written by another process" in ended.output


# --- running and resuming


@pytest.fixture
def workshop(inputs: dict[str, Any], tmp_path: Path) -> Workshop:
    known = settings.gather(**inputs)
    out = tmp_path / "out"
    out.mkdir()
    return Workshop(
        out, inputs["config"], inputs["cache"], inputs["held_out"], known, Timings(out / "timings.jsonl")
    )


def write_checkpoint(train: Path, step: int) -> None:
    """As lerobot-train leaves it."""
    model, state = train / resumable.LAST, train / "checkpoints/last/training_state"
    model.mkdir(parents=True, exist_ok=True)
    state.mkdir(parents=True, exist_ok=True)
    (state / "training_step.json").write_text(json.dumps({"step": step}))
    (model / "model.safetensors").write_text("last weights")
    (model / "ema.safetensors").write_text("averaged weights")
    training = {"use_ema": False, "ema_decay": 0.999, "compile_blocks": True, "latent_cache": "cache"}
    (model / "config.json").write_text(json.dumps({"type": "xwam", "dtype": "bfloat16", **training}))
    (model / "train_config.json").write_text("{}")
    (model / "policy_preprocessor.json").write_text("{}")


def test_nothing_is_done_twice(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    run, performed = Run(VARIANTS["channel"], 1), []

    def fake_stage(stage: stages.Stage, position: str, log: Path) -> None:
        performed.append(stage.name)
        stage.result.parent.mkdir(parents=True, exist_ok=True)
        stage.result.write_text("{}")

    def fake_train(fresh: list[str], output: Path, steps: int, *_: Any) -> None:
        performed.append("train")
        assert {"--policy.depth=channel", "--policy.noise_law=ans", "--seed=1", "--steps=40"} <= set(fresh)
        assert "--dataset.episodes=[0, 1]" in fresh
        write_checkpoint(output, steps)

    monkeypatch.setattr(stages, "run", fake_stage)
    monkeypatch.setattr(measuring, "train", fake_train)
    assert [kind for kind, _ in workshop.todo(run)] == ["train", "success", "imagined", "latency"]
    perform(workshop, run, lambda: None)
    assert performed == ["train", "success", "imagined", "latency"]
    assert workshop.todo(run) == []
    folder = workshop.folder(run)
    assert not (folder / "train/checkpoints").exists() and (folder / "policy/config.json").is_file()
    perform(workshop, run, lambda: pytest.fail("nothing is left"))
    (folder / "imagined/metrics.json").unlink()
    perform(workshop, run, lambda: None)
    assert performed[4:] == ["imagined"]
    shutil.rmtree(folder / "policy")  # its results are kept, its weights are not
    assert workshop.todo(run) == []


def test_what_is_measured_are_the_averaged_weights_as_they_act(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 40)
    export(tmp_path / resumable.LAST, tmp_path / "policy")
    assert (tmp_path / "policy/model.safetensors").read_text() == "averaged weights"
    config = json.loads((tmp_path / "policy/config.json").read_text())
    assert config == {
        **{"type": "xwam", "dtype": "float32", "use_ema": False, "ema_decay": 0.0},
        **{"compile_blocks": False, "latent_cache": None},
    }
    (tmp_path / resumable.LAST / "ema.safetensors").unlink()
    export(tmp_path / resumable.LAST, tmp_path / "plain")
    assert (tmp_path / "plain/model.safetensors").read_text() == "last weights"


FAKE_TRAINING = """
import json, pathlib, sys
out, steps = pathlib.Path({output!r}), int({steps})
fresh = "--resume=true" not in sys.argv
seen = pathlib.Path({output!r} + ".seen")
seen.write_text((seen.read_text() if seen.exists() else "") + ("fresh" if fresh else "on") + chr(10))
if fresh:
    out.mkdir()
last = out / "checkpoints/last"
for part in ("pretrained_model", "training_state"):
    (last / part).mkdir(parents=True, exist_ok=True)
(last / "pretrained_model/model.safetensors").touch()
print("INFO step:2 updt_s:0.500 data_s:0.100")
(last / "training_state/training_step.json").write_text(json.dumps({{"step": 3 if fresh else steps}}))
sys.exit(9 if fresh else 0)  # the first one is killed
"""


def test_a_killed_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    output, logs = tmp_path / "train", tmp_path / "logs"
    script = tmp_path / "fake.py"
    script.write_text(FAKE_TRAINING.format(output=str(output), steps=5))
    fresh = [sys.executable, str(script), "--steps=5"]
    output.mkdir()  # killed before its first checkpoint: nothing to go on from
    with pytest.raises(StageFailed):
        resumable.train(fresh, output, 5, "1/1", "training", logs)
    assert resumable.trained_steps(output) == 3
    resumable.train(fresh, output, 5, "1/1", "training", logs)
    resumable.train(fresh, output, 5, "1/1", "training", logs)  # it is done
    assert Path(f"{output}.seen").read_text().split() == ["fresh", "on"]
    assert len(list(logs.glob("train-*.log"))) == 2  # of both attempts
    assert resumable.seconds_per_step(logs) == pytest.approx(0.6)


# --- how long


def test_time_left_is_a_guess_until_it_was_measured(tmp_path: Path) -> None:
    timings = Timings(tmp_path / "timings.jsonl")
    assert timings.seconds("train", "interleaved", 100) == (START_S + 100 * GUESS["train"], False)
    with timings.of("train", "sequence", 10):
        pass
    line = json.loads(timings.path.read_text())
    timings.path.write_text(json.dumps({**line, "seconds": 36.0}) + "\n")
    assert timings.seconds("train", "sequence", 5) == (18.0, True)
    assert timings.seconds("train", "interleaved", 10) == (pytest.approx(20.0), True)  # it is lighter
    with pytest.raises(StageFailed), timings.of("train", "sequence", 10):
        raise StageFailed("out of memory")
    assert len(timings.path.read_text().splitlines()) == 1  # failures tell nothing
    assert in_words(3 * 3600 + 120, True) == "about 3 h 02 min"
    assert "guess" in in_words(20, False)


# --- tables


def write_run(folder: Path, successes: list[bool], psnr: float, abs_rel: float | None, ms: float) -> None:
    """What the tools that measure leave of one run."""
    (folder / "success").mkdir(parents=True)
    percent = 100 * sum(successes) / len(successes)
    evaluated = {
        "overall": {"pc_success": percent, "n_episodes": len(successes)},
        "per_task": [{"task_group": "lift", "task_id": 0, "metrics": {"successes": successes}}],
    }
    (folder / "success/eval_info.json").write_text(json.dumps(evaluated))
    (folder / "imagined").mkdir()
    row = {"windows": 6, "total": {"psnr": psnr, "abs_rel": abs_rel}}
    (folder / "imagined/metrics.json").write_text(json.dumps({"rows": {"X-WAM, own actions": row}}))
    held = {"median_ms": ms, "machine": "a laptop, 2 cores", "device": "cpu", "threads": 1, "busy": False}
    (folder / "latency.json").write_text(json.dumps(held))
    (folder / "logs").mkdir()
    (folder / "logs/train-0.log").write_text("updt_s:0.700 data_s:0.050\nupdt_s:0.800 data_s:0.050\n")


def report(workshop: Workshop, seeds: int) -> str:
    runs = all_runs(list(VARIANTS), seeds)
    found = [Result.read(run, workshop.folder(run)) for run in runs]
    return write_report(workshop.out, workshop.settings, [each for each in found if each.values], seeds)


def test_tables_show_what_was_measured_and_what_was_not(workshop: Workshop) -> None:
    write_run(workshop.out / "runs/none-0", [True, False], 20.0, None, 100.0)
    write_run(workshop.out / "runs/none-1", [True, True], 21.0, None, 110.0)
    write_run(workshop.out / "runs/interleaved-0", [True, True], 22.0, 0.05, 100.0)
    text = report(workshop, 2)
    rows = {line.split("|")[1].strip(): line for line in reversed(text.splitlines()) if line.startswith("| ")}
    assert rows["none"] == "| none | 75.0 ± 25.0 | 20.50 ± 0.50 | – | 105 ± 5 | 0.80 ± 0.00 | 4 |"
    assert "22.00 (1 of 2 seeds)" in rows["interleaved (ours)"] and "±" not in rows["interleaved (ours)"]
    assert rows["channel"].count("missing") == 6
    assert "40 steps x 8 = 320 windows" in text and "a laptop, 2 cores" in text
    held = json.loads((workshop.out / "ablation.json").read_text())
    assert held["summary"]["channel"] == {} and len(held["runs"]) == 3
    assert held["summary"]["none"]["psnr"] == {"mean": 20.5, "standard error": 0.5, "seeds": 2}
    assert "abs_rel" not in held["summary"]["none"]
    assert str(workshop.out.parent) not in (workshop.out / "ablation.json").read_text()  # nobody's folders
    assert (workshop.out / "ablation.png").read_bytes().startswith(b"\x89PNG")


def test_latencies_of_two_machines_are_not_passed_off_as_comparable(workshop: Workshop) -> None:
    for seed, name in enumerate(("a laptop", "a server")):
        folder = workshop.out / f"runs/none-{seed}"
        write_run(folder, [True], 20.0, None, 100.0)
        held = {"median_ms": 100.0, "machine": name, "device": "cpu", "threads": 1, "busy": False}
        (folder / "latency.json").write_text(json.dumps(held))
    assert "SEVERAL MACHINES" in report(workshop, 2)


def test_a_latency_of_a_busy_machine_says_so(workshop: Workshop) -> None:
    write_run(workshop.out / "runs/none-0", [True], 20.0, None, 100.0)
    assert "OTHER WORK RAN" not in report(workshop, 1)
    path = workshop.out / "runs/none-0/latency.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "busy": True}))
    assert "OTHER WORK RAN MEANWHILE (1 runs)" in report(workshop, 1)


def test_a_half_measured_run_has_the_numbers_that_it_has(workshop: Workshop) -> None:
    folder = workshop.out / "runs/channel-0"
    write_run(folder, [True], 20.0, 0.1, 100.0)
    (folder / "success/eval_info.json").unlink()
    result = Result.read(Run(VARIANTS["channel"], 0), folder)
    assert "success" not in result.values and result.episodes is None and result.values["psnr"] == 20.0


# --- all of it


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_smallest_real_ablation(tmp_path: Path) -> None:
    from commands import BIN, run
    from toys import SMALL

    steps = {"scheduler_warmup_steps": 1, "ema_decay": 0.5, "n_action_steps": 8}
    policy = {"type": "xwam", **SMALL, **steps, "crop_ratio": 1.0}
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps(
            {
                "policy": policy,
                "dataset": {"repo_id": "local/toy", "video_backend": "pyav"},
                "batch_size": 2,
                "steps": 2,
                "num_workers": 0,
            }
        )
    )
    data = [*("--arms=2", "--interface=raw", "--workers=1"), "--cameras", "front", "hand", "second"]
    xwam = BIN / "lerobot-xwam"
    run(xwam, "collect", *data, "--episodes=2", f"--out={tmp_path / 'data'}", timeout=600)
    cache = ["--variants=1", "--episodes", "0", f"--out={tmp_path / 'cache'}"]
    run(xwam, "cache-latents", f"--config={config}", f"--dataset={tmp_path / 'data'}", *cache, timeout=600)
    out = tmp_path / "out"
    command = [
        *(
            sys.executable,
            ROOT / "scripts/ablation.py",
            f"--config={config}",
            f"--cache={tmp_path / 'cache'}",
        ),
        *(f"--held-out={tmp_path / 'data'}", "--held-out-episodes", "1", "--stride=64", f"--out={out}"),
        *("--only", "none", "synchronous", "--seeds=1", "--task=lift", "--episodes=1"),
    ]
    printed = run(*command, timeout=1200)
    assert "all that is left: about" in printed
    held = json.loads((out / "ablation.json").read_text())
    assert set(held["summary"]["synchronous"]) == {
        *("success", "success: lift", "psnr", "abs_rel", "latency", "step")
    }
    assert "abs_rel" not in held["summary"]["none"] and held["summary"]["channel"] == {}
    latency = json.loads((out / "runs/synchronous-0/latency.json").read_text())
    assert latency["action_steps"] == SMALL["video_steps"]
    again = run(*command)
    assert "none-0: done before" in again and "training" not in again.split("| |")[0]
    run(*command, "--steps=3", fails=True)

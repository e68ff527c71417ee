"""Our mathematics against the numbers recorded from the official X-WAM, one test per recorded case.

The checks are those of scripts/compare_with_reference.py. A check that cannot fail proves nothing, so the
second half makes one mistake at a time and wants it to be seen.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import compare_with_reference as command
from reference import datasets, encoders, evaluation, generation, release, solver, training
from reference.compare import find_cases
from reference.folder import GoldenFolder, NotGoldenError
from reference.measure import Measure, Outcome, difference, run_case
from reference.report import explanations

from lerobot_xwam.benchmarks import robocasa, robotwin
from lerobot_xwam.data import statistics
from lerobot_xwam.data.authors_layout import clips, frames
from lerobot_xwam.model import layers, noise, rope, sampler, transformer
from lerobot_xwam.model.schedule import Grid, unipc_steps
from lerobot_xwam.model.sizes import TokenLayout
from lerobot_xwam.model.types import Latents
from lerobot_xwam.space import poses
from lerobot_xwam.space.poses import FrameChange
from lerobot_xwam.space.resampling import moves_towards

torch.set_num_threads(1)  # on busy cores a second thread makes toy operations many times slower
GOLDEN = Path(__file__).parent / "golden"
CASES, ROWS = find_cases(GoldenFolder(GOLDEN))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_we_compute_what_the_reference_computes(case) -> None:
    outcome = run_case(case)
    assert outcome.status == "PASS", explanations([outcome])


def test_every_recording_is_here_and_compared() -> None:
    assert ROWS == []
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))
    recorded = {key.split(".")[0] for key in load_file(GOLDEN / "forward.safetensors")} - {"in"}
    assert {f"forward.{name}" for name in recorded} <= set(names)
    for kind in ("train", "generate", "dataset"):
        said = json.loads((GOLDEN / f"{kind}.json").read_text())
        assert {f"{kind}.{name}" for name in said["cases"]} <= set(names)


# --- One mistake at a time ---


def outcome_of(name: str, folder: GoldenFolder) -> Outcome:
    cases, _ = find_cases(folder)
    return run_case(next(case for case in cases if case.name == name))


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch):
    """A folder whose network may be spoiled; tables computed meanwhile are forgotten afterwards."""
    rope.rope_table.cache_clear()
    yield GoldenFolder(GOLDEN)
    monkeypatch.undo()
    rope.rope_table.cache_clear()


Spoil = Callable[[GoldenFolder, pytest.MonkeyPatch], None]


def actions_one_step_late(_: GoldenFolder, patch: pytest.MonkeyPatch) -> None:
    right = rope.token_positions

    def late(layout: TokenLayout) -> Tensor:
        positions = right(layout)
        actions = slice(layout.video, layout.video + layout.actions)
        positions[actions, 0] += 1 / (rope.FRAMES_PER_LATENT * layout.actions_per_frame)
        return positions

    patch.setattr(rope, "token_positions", late)


def states_at_whole_frames(_: GoldenFolder, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rope, "FRAMES_PER_LATENT", 1)


def half_split_rotation(_: GoldenFolder, patch: pytest.MonkeyPatch) -> None:
    def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=-1)
        cos, sin = cos[:, None, ::2], sin[:, None, 1::2]
        return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)

    patch.setattr(layers, "rotate", rotate)


def no_view_embedding(folder: GoldenFolder, _: pytest.MonkeyPatch) -> None:
    folder.network.view_embedding.weight.data.zero_()


def exact_gelu(folder: GoldenFolder, _: pytest.MonkeyPatch) -> None:
    for block in folder.network.blocks:
        block.ffn[1] = nn.GELU()


def sine_before_cosine(_: GoldenFolder, patch: pytest.MonkeyPatch) -> None:
    right = transformer.sinusoid
    patch.setattr(transformer, "sinusoid", lambda clock, width: right(clock, width).roll(width // 2, dims=-1))


def depth_reads_itself_only(folder: GoldenFolder, patch: pytest.MonkeyPatch) -> None:
    for block in folder.network.depth_blocks:
        patch.setattr(block, "forward", lambda *args, right=block.forward: right(*args[:-1]))


def text_without_its_last_pad(folder: GoldenFolder, patch: pytest.MonkeyPatch) -> None:
    right = folder.network.read_text
    patch.setattr(folder.network, "read_text", lambda context: right(context[:, :-1]))


def solver_that_never_corrects(_: GoldenFolder, patch: pytest.MonkeyPatch) -> None:
    def steps(grid: Grid):
        return tuple(replace(step, correct=None) for step in unipc_steps(grid))

    patch.setattr(sampler, "unipc_steps", steps)
    patch.setattr(solver, "unipc_steps", steps)


def grid_from_pure_noise(_: GoldenFolder, patch: pytest.MonkeyPatch) -> None:
    def grid(steps: int, shift: float) -> Grid:
        raw = torch.linspace(1 - 1e-6, 0, steps + 1)
        sigmas = (shift * raw / (1 + (shift - 1) * raw)).tolist()
        return Grid(tuple(sigmas), tuple(int(1000 * sigma) for sigma in sigmas[:-1]))

    patch.setattr(sampler, "flow_grid", grid)
    patch.setattr(solver, "flow_grid", grid)


def noise_in_another_order(_: GoldenFolder, patch: pytest.MonkeyPatch) -> None:
    def actions_first(like: Latents, generators: list[torch.Generator]) -> Latents:
        swapped = noise.draw_noise(Latents(like.actions, like.video, like.states), generators)
        return Latents(swapped.actions, swapped.video, swapped.states)

    patch.setattr(generation, "draw_noise", actions_first)


def uniform_gap(_: GoldenFolder, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(noise, "beta_from_uniform", lambda u: u)


def times_without_shift(_: GoldenFolder, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(noise, "shift_times", lambda t, shift: t)


def everything_earns_a_loss(_: GoldenFolder, patch: pytest.MonkeyPatch) -> None:
    right = training.given_first
    patch.setattr(training, "given_first", lambda latents: right(latents).map(torch.zeros_like))


def clean_actions_earn_a_loss(_: GoldenFolder, patch: pytest.MonkeyPatch) -> None:
    right = training.LossMasks
    patch.setattr(training, "LossMasks", lambda latents, sample: right(latents, torch.ones_like(sample)))


def swapped_vae_norms(_: GoldenFolder, patch: pytest.MonkeyPatch) -> None:
    right = encoders.vae_table

    def table(stages: int, res_blocks: int) -> dict[str, str]:
        names = right(stages, res_blocks)
        first, second = (f"decoder.middle.0.residual.{layer}" for layer in (0, 3))
        return names | {first: names[second], second: names[first]}

    patch.setattr(encoders, "vae_table", table)


def rounded_text_weights(folder: GoldenFolder, _: pytest.MonkeyPatch) -> None:
    for tensor in folder.tensors("t5_tiny.safetensors").values():
        if tensor.is_floating_point() and tensor.dim() == 2:
            tensor.copy_(tensor.bfloat16())


def sixteen_bit_trunk(folder: GoldenFolder, _: pytest.MonkeyPatch) -> None:
    folder.network.blocks.bfloat16().float()


def grippers_as_commanded(_: GoldenFolder, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(clips, "actions_towards", moves_towards)


def controller_gripper_kept(_: GoldenFolder, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(clips, "from_controller", lambda raw: raw[..., :7])
    patch.setattr(robocasa, "from_controller", lambda raw: raw[..., :7])


def absent_arm_not_masked(_: GoldenFolder, patch: pytest.MonkeyPatch) -> None:
    right = clips.padded

    def ones(values, width: int):
        wide, mask = right(values, width)
        return wide, mask * 0 + 1

    patch.setattr(datasets, "padded", ones)


def smooth_depth(_: GoldenFolder, patch: pytest.MonkeyPatch) -> None:
    right = frames.resize
    patch.setattr(frames, "resize", lambda x, size, depth=False: right(x, size))


def depth_cropped_smoothly(_: GoldenFolder, patch: pytest.MonkeyPatch) -> None:
    right = evaluation.center_crop
    patch.setattr(evaluation, "center_crop", lambda x, ratio, depth=False: right(x, ratio))


def resting_grippers_count(_: GoldenFolder, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(statistics, "GRIPPER_RESTS", -1.0)


def turns_about_the_tool(_: GoldenFolder, patch: pytest.MonkeyPatch) -> None:
    right = poses.multiply
    patch.setattr(poses, "multiply", lambda a, b: right(b, a))


def site_not_turned(_: GoldenFolder, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(robocasa, "TOOL", FrameChange())


def pictures_upside_down(_: GoldenFolder, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(robocasa, "upright", lambda image: image.numpy())


def tool_axes_kept(_: GoldenFolder, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(robotwin, "FROM_ROBOTWIN", FrameChange(world=robotwin.FROM_ROBOTWIN.world))


MISTAKES: list[tuple[Spoil, str]] = [
    (actions_one_step_late, "forward.depth_on"),
    (actions_one_step_late, "forward_trace.rope"),
    (states_at_whole_frames, "forward.depth_off"),
    (half_split_rotation, "forward.tint"),
    (no_view_embedding, "forward.t1d"),
    (no_view_embedding, "forward_trace.seq_in"),
    (no_view_embedding, "forward_bf16_emulated"),
    (exact_gelu, "forward.depth_on"),
    (exact_gelu, "forward_trace.block0"),
    (sine_before_cosine, "forward_trace.e0"),
    (depth_reads_itself_only, "forward.cfg3"),
    (depth_reads_itself_only, "forward_trace.extra0"),
    (text_without_its_last_pad, "forward.cfg1"),
    (sixteen_bit_trunk, "train.ans"),
    (everything_earns_a_loss, "train.decoupled"),
    (clean_actions_earn_a_loss, "train.ans_allclean"),
    (solver_that_never_corrects, "unipc.10"),
    (solver_that_never_corrects, "generate.async"),
    (grid_from_pure_noise, "unipc.50"),
    (grid_from_pure_noise, "generate.sync"),
    (noise_in_another_order, "generate.noise"),
    (uniform_gap, "ans.ans"),
    (times_without_shift, "ans.decoupled"),
    (swapped_vae_norms, "vae_tiny.1_frames"),
    (rounded_text_weights, "t5_tiny"),
    (grippers_as_commanded, "dataset.dual"),
    (grippers_as_commanded, "dataset.single_delta"),
    (controller_gripper_kept, "dataset.raw"),
    (controller_gripper_kept, "eval_io.norm.robocasa"),
    (absent_arm_not_masked, "dataset.raw"),
    (smooth_depth, "dataset.dual"),
    (depth_cropped_smoothly, "eval_io.pre.a"),
    (resting_grippers_count, "compute_stats.dual"),
    (turns_about_the_tool, "eval_io.future"),
    (turns_about_the_tool, "eval_io.robotwin"),
    (site_not_turned, "eval_io.robocasa"),
    (pictures_upside_down, "eval_io.robocasa"),
    (tool_axes_kept, "eval_io.robotwin"),
]


@pytest.mark.parametrize(("spoil", "case"), MISTAKES, ids=lambda value: getattr(value, "__name__", value))
def test_a_mistake_is_seen(
    spoil: Spoil, case: str, fresh: GoldenFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(fresh, monkeypatch)
    outcome = outcome_of(case, fresh)
    assert outcome.status == "FAIL"
    assert not outcome.message, "the mistake should show as a difference, not as an error"


def test_measures_that_must_not_pass() -> None:
    reference = torch.randn(4, 5)
    assert difference("a copy", reference.clone(), reference).passed
    assert not difference("3e-4 off in one place", reference + 3e-4 * torch.eye(4, 5), reference).passed
    assert not difference("not a number", reference * torch.nan, reference).passed
    assert not difference("nothing", None, reference).passed
    assert not difference("another shape", reference[:1], reference).passed
    assert not Measure("whole numbers", 1.0, 0.0).passed


# --- The command ---


def run_command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["compare_with_reference.py", *arguments])
    return command.main()


def copy_of_golden(target: Path, *files: str) -> Path:
    target.mkdir()
    for name in ("config.json", "xwam_model.safetensors", *files):
        shutil.copy(GOLDEN / name, target / name)
    return target


def test_the_command_reports_every_case(tmp_path: Path, monkeypatch, capsys) -> None:
    result = tmp_path / "result.json"
    assert (
        run_command(monkeypatch, str(GOLDEN), "--only", "forward.depth_on", "unipc", "--json", str(result))
        == 0
    )
    printed = capsys.readouterr().out
    assert "forward.depth_on" in printed and "7 cases passed, 0 failed" in printed
    assert [case["status"] for case in json.loads(result.read_text())["cases"]] == ["PASS"] * 7


def test_the_command_names_what_is_wrong(tmp_path: Path, monkeypatch, capsys) -> None:
    folder = copy_of_golden(tmp_path / "spoiled", "forward.safetensors", "ans.json")
    stored = load_file(folder / "forward.safetensors")
    stored["tint.actions"][0, 3, 2] += 3e-4 * stored["tint.actions"].std()
    save_file(stored, folder / "forward.safetensors")
    (folder / "t5_tiny.safetensors").write_bytes((GOLDEN / "t5_tiny.safetensors").read_bytes()[:999])
    (folder / "dataset.json").write_text("{}")
    assert run_command(monkeypatch, str(folder)) == 1
    printed = capsys.readouterr().out
    rows = {line.split()[0]: line for line in printed.splitlines() if line}
    assert "FAIL" in rows["forward.tint"] and "PASS" in rows["forward.depth_on"]
    assert "actions: 3.0e-04 > 1.0e-04" in printed
    assert "FAIL" in rows["t5_tiny"] and "SafetensorError" in printed
    assert "not in this folder" in rows["train"] and "not in this folder" in rows["dataset"]


def test_the_command_refuses_other_folders(tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "config.json").write_text('{"type": "xwam"}')
    assert run_command(monkeypatch, str(tmp_path)) == 2
    assert "has no xwam_model.safetensors" in capsys.readouterr().err
    assert run_command(monkeypatch, str(tmp_path / "nowhere")) == 2
    assert run_command(monkeypatch, str(GOLDEN), "--only", "nothing") == 2
    with pytest.raises(NotGoldenError, match="cannot be read"):
        shutil.copy(GOLDEN / "xwam_model.safetensors", tmp_path)
        GoldenFolder(tmp_path)


def test_yaml_of_a_release_runs_no_code(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "action_num: 4\nkind: !!python/name:os.system\nrun: !!python/object/apply:os.system [echo]\n"
        "size: !!python/tuple [1, 2]\n"
    )
    assert release.read_yaml(path) == {"action_num": 4, "kind": "", "run": ["echo"], "size": [1, 2]}

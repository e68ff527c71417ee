"""What a user can get wrong: the message names the place, what it got, what it wanted and what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import checkpoint, eval_here, train_here, train_options
from draccus.utils import DecodingError
from huggingface_hub import constants
from lerobot.configs import FeatureType, PolicyFeature, PreTrainedConfig
from safetensors.torch import load_file, save_file
from toys import (
    ONE_CAMERA,
    THREE_CAMERAS,
    make_toy,
    pack,
    packed_batch,
    random_frames,
    small_config,
    vector,
)

from lerobot_xwam.data.scaling import Scaling
from lerobot_xwam.modeling_xwam import XWAMPolicy

FRONT = "observation.images.front"


def says(*fragments: str) -> str:
    """A pattern for all fragments in this order, lines not minded."""
    return "(?s)" + ".*".join(map(re.escape, fragments))


def test_the_patterns_of_this_file_can_fail() -> None:
    with pytest.raises(AssertionError), pytest.raises(ValueError, match=says("a", "c")):
        raise ValueError("a b")


# --- a batch that does not fit ---


def without(frames: dict[str, Any], key: str) -> None:
    del frames[key]


def put(key: str, change: Callable[[torch.Tensor], Any]) -> Callable[[dict[str, Any]], None]:
    def apply(frames: dict[str, Any]) -> None:
        frames[key] = change(frames[key])

    return apply


def poison(*where: int) -> Callable[[torch.Tensor], torch.Tensor]:
    def apply(values: torch.Tensor) -> torch.Tensor:
        values = values.clone()
        values[where] = float("nan")
        return values

    return apply


def infinite(values: torch.Tensor) -> torch.Tensor:
    return torch.full_like(values, float("inf"))


BATCHES: dict[str, tuple[Callable[[dict[str, Any]], Any], list[str]]] = {
    "missing camera": (
        lambda frames: without(frames, FRONT),
        [FRONT, "missing", "got", f"{FRONT}_depth", "sees", FRONT, "--rename_map"],
    ),
    "extra camera": (
        lambda frames: frames.update({"observation.images.back": frames[FRONT]}),
        ["observation.images.back", "not known", FRONT, "--policy.base_weights"],
    ),
    "no time axis": (put(FRONT, lambda x: x[:, 0]), [FRONT, "(2, 1, 3, 40, 56)", "B 5 3 H W"]),
    "image rank": (put(FRONT, lambda x: x[:, 0, 0]), [FRONT, "2, 40, 56)", "B 5 3 H W"]),
    "channels last": (
        put(FRONT, lambda x: x.movedim(2, -1)),
        [FRONT, "(2, 5, 40, 56, 3)", "B 5 3 H W", "Channels come before height"],
    ),
    "other horizon": (put(FRONT, lambda x: x[:, :3]), [FRONT, "(2, 3, 3, 40, 56)", "B 5", "num_frames"]),
    "missing state": (
        lambda frames: without(frames, "observation.state"),
        ["observation.state", "missing", "got", FRONT, "--rename_map"],
    ),
    "NaN state": (
        put("observation.state", poison(1, 3, 4)),
        ["observation.state", "NaN", "sample 1, step 3, dim 4", "repair the dataset"],
    ),
    "infinite action": (put("action", infinite), ["action", "infinite value at sample 0, step 0, dim 0"]),
    "action width": (
        put("action", lambda x: x[..., :4]),
        ["action", "(2, 16, 4)", "wanted (batch, 16, 5)", "--policy.base_weights"],
    ),
    "action horizon": (put("action", lambda x: x[:, :8]), ["action", "(2, 8, 5)", "wanted (batch, 16, 5)"]),
    "state width": (
        put("observation.state", lambda x: x[..., :2]),
        ["observation.state", "(2, 5, 2)", "wanted (batch, 5, 6)", "--policy.base_weights"],
    ),
    "missing depth": (
        lambda frames: without(frames, f"{FRONT}_depth"),
        [f"{FRONT}_depth", "missing", "set up with", "--policy.base_weights"],
    ),
    "depth of three channels": (
        put(f"{FRONT}_depth", lambda x: x.expand(-1, -1, 3, -1, -1)),
        [f"{FRONT}_depth", "(2, 5, 3, 40, 56)", "B 5 1 H W"],
    ),
    "depth in metres": (
        put(f"{FRONT}_depth", lambda x: x / 1000),
        [f"{FRONT}_depth", "median depth", "'mm'", "outside", "--policy.depth_unit=m"],
    ),
    "tasks": (lambda frames: frames.update(task=["a"] * 3), ["task", "3 instructions", "batch of 2"]),
}


@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_that_does_not_fit(name: str) -> None:
    config = small_config(depth_of=["front"])
    frames = random_frames(config)
    pack(config, frames)
    change, fragments = BATCHES[name]
    change(frames)
    with pytest.raises(ValueError, match=says(*fragments)):
        pack(config, frames)


def test_depth_in_millimetres_called_metres() -> None:
    config = small_config(depth_of=["front"], depth_unit="m")
    with pytest.raises(
        ValueError, match=says(f"{FRONT}_depth", "when read as 'm'", "--policy.depth_unit=mm")
    ):
        packed_batch(config)


def test_no_instruction() -> None:
    config = small_config()
    policy, frames = XWAMPolicy(config), random_frames(config)
    frames["task"] = ["lift", ""]
    batch = pack(config, frames)
    for use in (policy, policy.select_action):
        with pytest.raises(ValueError, match=says("task", "sample 1 of 2", "--policy.default_task=")):
            use(batch)


# --- a dataset or robot that does not fit ---


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("bad") / "run"
    train_here(*train_options(THREE_CAMERAS, output, "--steps=1", "--batch_size=2"))
    return output


def test_horizon_longer_than_every_episode(tmp_path: Path) -> None:
    output = tmp_path / "run"
    longest = max(make_toy(ONE_CAMERA).dataset.meta.episodes["length"])
    fragments = [f"longest episode has {longest} frames", "needs 65", "--policy.num_frames"]
    with pytest.raises(ValueError, match=says(*fragments)):
        train_here(*train_options(ONE_CAMERA, output, "--steps=1"), "--policy.actions_per_frame=16")
    assert not output.exists()


def test_going_on_with_another_robot(trained: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    start = [f"--policy.path={checkpoint(trained, 1)}", "--policy.push_to_hub=false"]
    with pytest.raises(ValueError, match=says("observation.state", "5 dims", "8", "--policy.base_weights")):
        train_here(*train_options(ONE_CAMERA, output, "--steps=1", policy=start))
    assert not output.exists()


def test_a_simulator_without_a_camera(trained: Path, tmp_path: Path) -> None:
    output = tmp_path / "eval"
    with pytest.raises(ValueError, match=says("images.front", "missing", "images.wrist", "--rename_map")):
        eval_here(
            f"--policy.path={checkpoint(trained, 1)}",
            "--env.type=xwam_tabletop",
            "--env.cameras=wrist,left",
            "--eval.n_episodes=1",
            "--eval.batch_size=1",
            f"--output_dir={output}",
        )
    assert not [path for path in output.rglob("*") if path.is_file()]


def feature(*shape: int) -> PolicyFeature:
    return PolicyFeature(type=FeatureType.VISUAL, shape=shape)


FEATURES: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({"cameras": []}, {}, ["at least one RGB camera", "['observation.state']", "--policy.input_features"]),
    ({"cameras": list("abc"), "max_views": 2}, {}, ["3 cameras", "2 views", "--policy.max_views=3"]),
    ({"action": 15}, {}, ["action: 15 dims", "takes 14", "--policy.action_width=15"]),
    ({"state": 17}, {}, ["observation.state: 17 dims", "takes 16", "--policy.state_width=17"]),
    ({"interface": "ee"}, {}, ["8 and 7", "16 and 14", "6 and 5", "--policy.interface=native"]),
    ({"depth": "channel"}, {}, ["depth='channel'", "got none", "interleaved"]),
    ({}, {"observation.images.x": feature(40, 56)}, ["images.x", "(40, 56)", "3 channel", "leave it out"]),
    ({}, {"observation.images.x": feature(4, 40, 56)}, ["images.x", "(4, 40, 56)", "3 channel"]),
    ({}, {"observation.state": vector(6, FeatureType.VISUAL)}, ["observation.state", "(6,)"]),
    (
        {"depth_of": ["side"]},
        {},
        ["images.side_depth", "no RGB camera 'observation.images.side'", "<camera>_depth"],
    ),
]


@pytest.mark.parametrize(("settings", "inputs", "fragments"), FEATURES)
def test_features_that_do_not_fit(
    settings: dict[str, Any], inputs: dict[str, Any], fragments: list[str]
) -> None:
    config = small_config(**settings)
    config.input_features |= inputs
    with pytest.raises(ValueError, match=says(*fragments)):
        XWAMPolicy(config)


@pytest.mark.parametrize("missing", ["observation.state", "action"])
def test_a_robot_without_state_or_action(missing: str) -> None:
    config = small_config()
    for features in (config.input_features, config.output_features):
        features.pop(missing, None)
    with pytest.raises(ValueError, match=says(missing, "is missing", "got [", "Record it")):
        XWAMPolicy(config)


@pytest.mark.parametrize(
    ("statistics", "fragments"),
    [
        ({}, ["observation.state", "no statistics", "recompute"]),
        (
            {"observation.state": {"mean": [0.0]}},
            ["observation.state", "neither q01/q99 nor min/max", "mean"],
        ),
        (
            {"observation.state": {"q01": [float("nan")], "q99": [1.0]}},
            ["observation.state", "not finite", "NaN"],
        ),
    ],
)
def test_statistics_that_do_not_fit(statistics: dict[str, Any], fragments: list[str]) -> None:
    with pytest.raises(ValueError, match=says(*fragments)):
        Scaling.fit("native", statistics, "observation.state", "action")


# --- weights ---


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    XWAMPolicy(small_config()).save_pretrained(tmp_path)
    return tmp_path


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def cut_in_the_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def scramble(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 16)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, cut_in_the_header, scramble, empty])
@pytest.mark.parametrize("how", ["checkpoint", "base"])
def test_damaged_weights(saved: Path, damage: Callable[[Path], None], how: str) -> None:
    file = saved / "model.safetensors"
    damage(file)
    with pytest.raises(
        ValueError, match=says(str(file), "corrupt or was cut off", "Download or save it again")
    ):
        if how == "checkpoint":
            XWAMPolicy.from_pretrained(saved)
        else:
            XWAMPolicy(small_config(base_weights=str(saved)))


def test_a_checkpoint_without_weights(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=says("model.safetensors", "no such file", "config.json")):
        XWAMPolicy.from_pretrained(saved)


@pytest.mark.parametrize("place", ["./nowhere", "/no/where", "a/b/c", "nowhere"])
def test_weights_that_are_not_there(place: str) -> None:
    with pytest.raises(FileNotFoundError, match=says(place, "no such folder", "Hub id")):
        XWAMPolicy(small_config(base_weights=place))


@pytest.mark.parametrize(
    ("changes", "fragments"),
    [
        (
            {"dim": 48, "heads": 3},
            ["another preset", "of another shape", "(32,) instead of (48,)", "more", "config.json"],
        ),
        ({"blocks": 3}, ["another preset", "missing", "net.blocks.2.", "config.json"]),
        ({"blocks": 1}, ["another preset", "unexpected", "net.blocks.1."]),
        ({"depth_blocks": 2}, ["another preset", "missing", "net.depth_blocks.1."]),
        ({"depth": "channel", "depth_of": ["front"]}, ["depth mode", "unexpected", "net.depth_blocks.0."]),
    ],
)
def test_weights_of_another_preset(saved: Path, changes: dict[str, Any], fragments: list[str]) -> None:
    file = str(saved / "model.safetensors")
    with pytest.raises(ValueError, match=says(file, *fragments)):
        XWAMPolicy.from_pretrained(saved, config=small_config(**changes))
    with pytest.raises(ValueError, match=says(file, *fragments)):
        XWAMPolicy(small_config(base_weights=str(saved), **changes))


@pytest.mark.parametrize(
    ("name", "value"),
    [("depth_near", 0.5), ("depth_far", 3.0), ("depth_unit", "m"), ("height", 48), ("interface", "ee")],
)
def test_settings_that_the_saved_processors_do_not_follow(saved: Path, name: str, value: Any) -> None:
    config = PreTrainedConfig.from_pretrained(saved)
    assert getattr(config, name) != value
    setattr(config, name, value)
    with pytest.raises(ValueError, match=says(f"{name}={value!r}", "--policy.base_weights")):
        XWAMPolicy.from_pretrained(saved, config=config)


def test_one_weight_too_few_or_too_many(saved: Path) -> None:
    file = saved / "model.safetensors"
    weights = load_file(file)
    taken = weights.pop("net.blocks.0.ffn.0.weight")
    save_file({**weights, "net.blocks.0.ffn.9.weight": taken}, file)
    fragments = ["1 missing: net.blocks.0.ffn.0.weight", "1 unexpected: net.blocks.0.ffn.9.weight"]
    with pytest.raises(ValueError, match=says(*fragments)):
        XWAMPolicy.from_pretrained(saved)


def test_base_weights_may_lack_only_what_is_the_robots(saved: Path) -> None:
    """Other widths are allowed there, but a left-over tensor of another network is not."""
    file = saved / "model.safetensors"
    save_file({**load_file(file), "net.something_else.weight": torch.zeros(2)}, file)
    with pytest.raises(ValueError, match=says("1 unexpected: net.something_else.weight")):
        XWAMPolicy(small_config(base_weights=str(saved), action_width=20))


# --- a configuration of the future ---


def rewrite(path: Path, **changes: Any) -> None:
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, **changes}))


NEWER = ["format_version 2", "newer lerobot_policy_xwam", "up to 1", "pip install --upgrade"]
FUTURES = [{}, {"depth_in_colour": True}, {"depth": "holographic"}]


def test_newer_version_in_python() -> None:
    with pytest.raises(ValueError, match=says(*NEWER)):
        small_config(format_version=2)


@pytest.mark.parametrize("changes", FUTURES)
def test_newer_checkpoint(saved: Path, changes: dict[str, Any]) -> None:
    """Said before anything else in the file is judged, fields that nobody knows yet included."""
    rewrite(saved / "config.json", format_version=2, **changes)
    for read in (PreTrainedConfig.from_pretrained, XWAMPolicy.from_pretrained):
        with pytest.raises(DecodingError, match=says(*NEWER)):
            read(saved)


def test_newer_checkpoint_in_the_commands(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = checkpoint(trained, 1)
    originals = {name: (source / name).read_text() for name in ("config.json", "train_config.json")}
    try:
        rewrite(source / "config.json", format_version=2, depth_in_colour=True)
        policy = json.loads(originals["train_config.json"])["policy"]
        rewrite(source / "train_config.json", policy={**policy, "format_version": 2, "depth_in_colour": 1})
        start = [f"--policy.path={source}", "--policy.push_to_hub=false"]
        with pytest.raises(DecodingError, match=says(*NEWER)):
            train_here(*train_options(THREE_CAMERAS, tmp_path / "on", "--steps=1", policy=start))
        for command in (
            lambda: eval_here(
                f"--policy.path={source}", "--env.type=xwam_tabletop", f"--output_dir={tmp_path / 'eval'}"
            ),
            lambda: train_here(f"--config_path={source / 'train_config.json'}", "--resume=true"),
        ):
            with pytest.raises(SystemExit):
                command()
            assert re.search(says("error:", *NEWER), capsys.readouterr().err)
    finally:
        for name, text in originals.items():
            (source / name).write_text(text)
    assert not list(tmp_path.iterdir())


def test_newer_depth_code() -> None:
    with pytest.raises(ValueError, match=says("depth_codec_version=2", "only version 1")):
        small_config(depth_codec_version=2)


def test_a_field_that_is_just_wrong(saved: Path) -> None:
    rewrite(saved / "config.json", colour="red")
    with pytest.raises(DecodingError, match=says("`colour`", "not valid for XWAMConfig")):
        PreTrainedConfig.from_pretrained(saved)


# --- codecs ---


def test_missing_wan_folder(tmp_path: Path) -> None:
    output = tmp_path / "run"
    with pytest.raises(FileNotFoundError, match=says("codecs './wan'", "no such folder", "vae", "'tiny'")):
        train_here(*train_options(ONE_CAMERA, output, "--steps=1"), "--policy.codecs=./wan")
    assert not output.exists()


def test_wan_was_never_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said when the policy is made, before data and weights are touched."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    output = tmp_path / "run"
    fragments = ["Wan-AI/Wan2.2-TI2V-5B-Diffusers", "not in the Hugging Face cache", "--policy.codecs=FOLDER"]
    with pytest.raises(FileNotFoundError, match=says(*fragments)):
        train_here(
            *train_options(ONE_CAMERA, output, "--steps=1"),
            "--policy.preset=wan2.2-5b",
            "--policy.height=64",
            "--policy.width=64",
        )
    assert not output.exists()


# --- settings that do not go together ---

SETTINGS: list[tuple[dict[str, Any], list[str]]] = [
    ({"preset": "wan9"}, ["preset 'wan9'", "'wan2.2-5b', 'tiny'"]),
    ({"interface": "joints"}, ["interface='joints'", "'auto', 'ee', 'native'"]),
    ({"depth": "stereo"}, ["depth='stereo'", "'interleaved', 'none', 'sequence', 'channel'"]),
    ({"noise_law": "pink"}, ["noise_law='pink'", "'ans', 'decoupled', 'synchronous'"]),
    ({"time_law": "normal"}, ["time_law='normal'", "'uniform', 'beta'"]),
    ({"dtype": "float16"}, ["dtype='float16'", "'bfloat16', 'float32'"]),
    ({"depth_unit": "cm"}, ["depth_unit='cm'", "'mm', 'm'"]),
    ({"height": 40}, ["height=40", "multiple of 16", "VAE stride 8 x patch 2", "use 32"]),
    ({"width": -16}, ["width=-16", "multiple of 16", "use 16"]),
    ({"num_frames": 8}, ["num_frames=8", "1 + a multiple of 4", "e.g. 9"]),
    ({"num_frames": 1}, ["num_frames=1", "e.g. 9"]),
    ({"n_action_steps": 17}, ["n_action_steps=17", "between 1 and", "16"]),
    ({"n_action_steps": -1}, ["n_action_steps=-1", "between 1 and"]),
    ({"depth_near": 3.0, "depth_far": 2.0}, ["depth_near=3.0, depth_far=2.0", "0 < near < far", "metres"]),
    ({"depth_near": -1.0}, ["depth_near=-1.0", "0 < near"]),
    ({"max_views": 9}, ["max_views=9", "between 1 and 8"]),
    ({"crop_ratio": 0.0}, ["crop_ratio=0.0", "(0, 1]", "1 switches"]),
    ({"hue": 0.6}, ["hue=0.6", "[0, 0.5]", "0 switches it off"]),
    ({"brightness": -0.1}, ["brightness=-0.1", "[0, 1]"]),
    ({"time_law": "beta"}, ["time_law='beta'", "noise_law='ans'", "noise_law='synchronous'", "'uniform'"]),
    ({"clean_action_ratio": 1.5}, ["clean_action_ratio=1.5", "[0, 1]"]),
    ({"text_dropout": -0.1}, ["text_dropout=-0.1", "[0, 1]"]),
    ({"interface": "ee", "action_width": 7}, ["interface='ee'", "state_width >= 16", "got 16 and 7"]),
    ({"dim": 30}, ["dim 30 over 2 heads", "choose dim = heads x 2n"]),
    ({"time_dim": 15}, ["time_dim 15", "even"]),
    ({"depth_blocks": 3}, ["depth_blocks 3", "between 0 and blocks 2"]),
    ({"action_steps": 4}, ["action_steps 4", "between 1 and video_steps 3"]),
]


@pytest.mark.parametrize(("settings", "fragments"), SETTINGS, ids=lambda value: "-".join(map(str, value)))
def test_settings_that_do_not_go_together(settings: dict[str, Any], fragments: list[str]) -> None:
    with pytest.raises(ValueError, match=says(*fragments)):
        small_config(**settings)


def test_the_command_line_says_it_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """draccus itself only tells that it "couldn't instantiate class XWAMConfig"."""
    output = tmp_path / "run"
    with pytest.raises(SystemExit):
        train_here(*train_options(ONE_CAMERA, output, "--steps=1"), "--policy.num_frames=8")
    assert "X-WAM settings: num_frames=8: the VAE wants" in caplog.text
    assert not output.exists()

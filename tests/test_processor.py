"""What goes into the network and what comes out: units, masks, statistics, depth, cameras."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import checkpoint, train_here, train_options
from hypothesis import given, settings
from hypothesis import strategies as st
from lerobot.policies.factory import make_pre_post_processors
from safetensors.torch import load_file
from torch import Tensor
from toys import (
    ONE_CAMERA,
    OTHER_SCENES,
    THREE_CAMERAS,
    TWO_ARMS,
    Toy,
    World,
    first_frame,
    make_toy,
    metadata,
    pack,
    packed_batch,
    random_frames,
    small_config,
)

from lerobot_xwam import XWAMConfig
from lerobot_xwam.codecs.depth import DepthCodec, to_metres
from lerobot_xwam.data import batch as packed
from lerobot_xwam.data.dataset_quantiles import with_quantiles_of_all_frames
from lerobot_xwam.data.layout import canonical_quaternions, detect_interface, feature_names
from lerobot_xwam.data.scaling import Scaling
from lerobot_xwam.modeling_xwam import XWAMPolicy

WORLDS = [ONE_CAMERA, THREE_CAMERAS, TWO_ARMS]
REACH = st.floats(-100, 100, width=32)


@pytest.fixture(scope="module", params=WORLDS, ids=lambda world: world.name)
def toy(request: pytest.FixtureRequest) -> Toy:
    return make_toy(request.param)


def statistics(low: list[float], high: list[float], **more: list[float]) -> dict[str, Any]:
    return {"q01": torch.tensor(low), "q99": torch.tensor(high), **more}


def scaling(interface: str, state: dict[str, Any], action: dict[str, Any]) -> Scaling:
    stats = {"observation.state": state, "action": action}
    return Scaling.fit(interface, stats, "observation.state", "action")


# --- vectors ---


def test_unpacking_is_the_inverse_of_packing(toy: Toy) -> None:
    raw = toy.raw([0, 7, 33])
    model_space = toy.pre(raw)["action"]
    assert model_space.shape == (3, 16, 14)
    torch.testing.assert_close(toy.post(model_space), raw["action"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(toy.post(model_space[:, 0]), raw["action"][:, 0], atol=1e-5, rtol=1e-5)
    assert 0.5 < model_space.abs().max() < 3  # scaled to the network's range, not left in metres or degrees


def test_the_absent_is_masked(toy: Toy) -> None:
    batch = toy.batch([0])
    config = toy.policy.config
    state, action = config.robot_state_feature.shape[0], config.action_feature.shape[0]
    assert batch[packed.STATE].shape == batch[packed.STATE_MASK].shape == (1, 5, 16)
    assert (batch[packed.ACTION_MASK][..., :action] == 1).all()
    assert (batch[packed.ACTION_MASK][..., action:] == 0).all()
    assert (batch["action"][..., action:] == 0).all()
    assert (batch[packed.STATE_MASK][..., :state] == 1).all()
    assert (batch[packed.STATE_MASK][..., state:] == 0).all()
    assert (state, action) in {(5, 5), (8, 7), (16, 14)}


def test_steps_beyond_the_episode_are_masked(toy: Toy) -> None:
    last = toy.dataset.meta.episodes[0]["length"] - 1
    batch = toy.batch([last - 5])
    assert batch[packed.ACTION_MASK][0, :, 0].tolist() == [1.0] * 6 + [0.0] * 10
    assert batch[packed.STATE_MASK][0, :, 0].tolist() == [1, 1, 0, 0, 0]  # frames 0, 4 of 0, 4, 8, 12, 16


def test_training_and_acting_see_the_same_numbers(toy: Toy) -> None:
    item = toy.dataset[11]
    training, acting = toy.batch([11]), toy.pre(first_frame(item))
    assert torch.equal(training[packed.VIDEO][:, :, :1], acting[packed.VIDEO])
    assert torch.equal(training[packed.STATE][:, :1], acting[packed.STATE])
    assert training[packed.TASK] == acting[packed.TASK] == [item["task"]]
    assert acting[packed.VIDEO].shape[1] == len(toy.policy.config.cameras)
    batched = toy.pre({k: v[None] if torch.is_tensor(v) else [v] for k, v in first_frame(item).items()})
    assert torch.equal(batched[packed.VIDEO], acting[packed.VIDEO])


def test_a_saved_pipeline_is_the_same_pipeline(toy: Toy, tmp_path: Path) -> None:
    toy.pre.save_pretrained(tmp_path)
    toy.post.save_pretrained(tmp_path)
    pre, post = make_pre_post_processors(toy.policy.config, pretrained_path=str(tmp_path))
    before, after = toy.batch([3]), pre(toy.raw([3]))
    assert before.keys() == after.keys()
    for key in (packed.VIDEO, packed.STATE, "action"):
        assert torch.equal(before[key], after[key])
    assert torch.equal(toy.post(before["action"]), post(after["action"]))


def test_ee_actions_are_scaled_without_bias() -> None:
    """0 is "no movement" and stays 0, however lopsided the data."""
    low, high = [-0.01, 0.02, -0.5, 0, -0.1, -0.2, 0], [0.05, 0.08, -0.1, 0, 0.1, 0.2, 1]
    ee = scaling("ee", statistics([0.0] * 8, [1.0] * 8), statistics(low, high))
    still = torch.zeros(7)
    assert torch.equal(ee.action(still), still)
    assert torch.equal(ee.raw_action(still), still)
    torch.testing.assert_close(
        ee.action(torch.tensor(high))[[0, 1, 2, 4, 6]], torch.tensor([1.0, 1, -0.2, 1, 1])
    )
    native = scaling("native", statistics([0.0] * 8, [1.0] * 8), statistics(low, high))
    torch.testing.assert_close(native.action(torch.tensor(low))[1:3], torch.tensor([-1.0, -1]))
    torch.testing.assert_close(native.action(torch.tensor(high))[1:3], torch.tensor([1.0, 1]))


def test_quaternions_are_not_scaled_but_have_one_sign() -> None:
    ee = scaling("ee", statistics([-2.0] * 8, [4.0] * 8), statistics([-1.0] * 7, [1.0] * 7))
    state = torch.tensor([1.0, 1, 1, -0.5, 0.5, -0.5, 0.5, 4.0])
    flipped = canonical_quaternions(state)
    assert flipped.tolist() == [1, 1, 1, 0.5, -0.5, 0.5, -0.5, 4]
    assert torch.equal(canonical_quaternions(flipped), flipped)
    assert ee.state(flipped).tolist() == [0, 0, 0, 0.5, -0.5, 0.5, -0.5, 1]
    both = canonical_quaternions(torch.cat([state, flipped]))
    assert torch.equal(both, torch.cat([flipped, flipped]))


def test_q_and_minus_q_are_the_same_state() -> None:
    toy = make_toy(TWO_ARMS)
    observation = toy.observation()
    turned = {**observation, "observation.state": observation["observation.state"].clone()}
    turned["observation.state"][[3, 4, 5, 6, 11, 12, 13, 14]] *= -1
    assert torch.equal(toy.pre(turned)[packed.STATE], toy.pre(observation)[packed.STATE])
    assert (toy.pre(turned)[packed.STATE][..., [3, 11]] >= 0).all()


@settings(max_examples=60, deadline=None)
@given(
    interface=st.sampled_from(["native", "ee"]),
    bounds=st.lists(st.tuples(REACH, REACH), min_size=7, max_size=7),
    where=st.lists(st.floats(0, 1, width=32), min_size=7, max_size=7),
)
def test_scaling_never_explodes(
    interface: str, bounds: list[tuple[float, float]], where: list[float]
) -> None:
    """Any statistics, constant dimensions included: data lands near [-1, 1] and comes back."""
    low, high = (torch.tensor([pick(pair) for pair in bounds]) for pick in (min, max))
    values = low + torch.tensor(where) * (high - low)
    fitted = scaling(interface, statistics([-1.0] * 8, [1.0] * 8), {"q01": low, "q99": high})
    inside = fitted.action(values)
    assert torch.isfinite(inside).all()
    assert inside.abs().max() <= 1.001
    torch.testing.assert_close(fitted.raw_action(inside), values, rtol=1e-4, atol=1e-4)


def test_constant_dimensions_do_not_amplify_noise() -> None:
    """A joint that hardly moved in training may move at inference, and rounding noise is no signal."""
    for interface in ("native", "ee"):
        fitted = scaling(
            interface, statistics([5.0] * 8, [5.0 + 1e-6] * 8), statistics([0.0] * 7, [1e-13] * 7)
        )
        assert fitted.action(torch.full((7,), 0.2)).abs().max() < 1
        assert fitted.state(torch.full((8,), 5.1)).abs().max() < 6


def test_statistics_are_quantiles_if_there_are_any() -> None:
    both = statistics([-1.0] * 5, [1.0] * 5) | {"min": torch.full((5,), -9.0), "max": torch.full((5,), 9.0)}
    with_quantiles = scaling("native", both, both)
    assert with_quantiles.action(torch.ones(5)).tolist() == [1] * 5
    without = {name: both[name] for name in ("min", "max")}
    assert scaling("native", without, without).action(torch.full((5,), 9.0)).tolist() == [1] * 5


def test_statistics_survive_fine_tuning_on_another_dataset(tmp_path: Path) -> None:
    """lerobot-train force-feeds the new dataset's statistics; the weights were trained with the old ones."""
    first, second = tmp_path / "first", tmp_path / "second"
    train_here(*train_options(THREE_CAMERAS, first, "--steps=1", "--batch_size=2"))
    source = checkpoint(first, 1)
    train_here(
        *train_options(
            OTHER_SCENES,
            second,
            "--steps=1",
            "--batch_size=2",
            policy=[f"--policy.path={source}", "--policy.push_to_hub=false"],
        )
    )
    old, new = (metadata(world).stats["action"]["q99"] for world in (THREE_CAMERAS, OTHER_SCENES))
    assert abs(old - new).max() > 1e-4
    known = metadata(THREE_CAMERAS)
    exact = with_quantiles_of_all_frames(known.stats, Path(known.root), ("action",))
    for name in ("preprocessor_step_4_xwam_pack", "postprocessor_step_0_xwam_unpack_action"):
        before, after = (
            load_file(checkpoint(run, 1) / f"policy_{name}.safetensors") for run in (first, second)
        )
        assert set(before) == {"state_center", "state_half", "action_center", "action_half"}
        torch.testing.assert_close(after, before, rtol=0, atol=0)
        reach = torch.as_tensor(exact["action"]["q99"]).float().abs()
        low = torch.as_tensor(exact["action"]["q01"]).float().abs()
        expected = torch.maximum(reach, low)
        torch.testing.assert_close(before["action_half"][expected > 1e-6], expected[expected > 1e-6])
    config = XWAMPolicy.from_pretrained(checkpoint(second, 1)).config
    pre, post = make_pre_post_processors(config, pretrained_path=str(checkpoint(second, 1)))
    toy = make_toy(THREE_CAMERAS)
    raw = toy.raw([4])
    torch.testing.assert_close(pre(raw)["action"], toy.pre(raw)["action"])
    torch.testing.assert_close(post(pre(raw)["action"]), raw["action"], atol=1e-5, rtol=1e-5)


# --- interfaces ---

EE_STATE = ["x", "y", "z", "qw", "qx", "qy", "qz", "gripper"]
EE_ACTION = ["dx", "dy", "dz", "drx", "dry", "drz", "gripper"]
SO101 = [
    "shoulder_pan.pos",
    "shoulder_lift.pos",
    "elbow_flex.pos",
    "wrist_flex.pos",
    "wrist_roll.pos",
    "gripper.pos",
]


@pytest.mark.parametrize(
    ("state", "action", "interface", "reason"),
    [
        (EE_STATE, EE_ACTION, "ee", "1 arm"),
        (
            [f"{side}_{name}" for side in ("left", "right") for name in EE_STATE],
            [f"{side}_{name}" for side in ("left", "right") for name in EE_ACTION],
            "ee",
            "2 arm",
        ),
        (SO101, SO101, "native", "state of 6 (shoulder_pan.pos"),
        ([f"joint_{i}" for i in range(8)], [f"joint_{i}" for i in range(7)], "native", "not its names"),
        ([f"dim_{i}" for i in range(16)], [f"dim_{i}" for i in range(14)], "native", "not its names"),
        ([*EE_STATE[:3], "qx", "qy", "qz", "qw", "gripper"], EE_ACTION, "native", "not its names"),
    ],
)
def test_interface_follows_from_names(
    state: list[str], action: list[str], interface: str, reason: str
) -> None:
    found, why = detect_interface(state, action)
    assert found == interface
    assert reason in why


def test_feature_names_in_all_of_lerobots_spellings() -> None:
    assert feature_names({"names": ["a", "b"], "shape": (2,)}) == ["a", "b"]
    assert feature_names({"names": {"motors": ["a", "b"]}, "shape": (2,)}) == ["a", "b"]
    assert feature_names({"names": None, "shape": (2,)}) == ["dim_0", "dim_1"]
    assert feature_names({"shape": (1,)}) == ["dim_0"]


@pytest.mark.parametrize(
    ("world", "interface"), [(ONE_CAMERA, "native"), (THREE_CAMERAS, "ee"), (TWO_ARMS, "ee")]
)
def test_interface_is_chosen_and_said(world: World, interface: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="lerobot_xwam"):
        toy = make_toy(world)
    assert toy.policy.config.interface == interface
    (message,) = [record.message for record in caplog.records if "interface" in record.message]
    assert interface in message
    assert "--policy.interface=" in message


def test_interface_can_be_forced() -> None:
    assert make_toy(THREE_CAMERAS, interface="native").policy.config.interface == "native"


# --- depth ---


@given(
    near=st.floats(0.05, 0.5),
    far=st.floats(1, 50),
    metres=st.lists(st.floats(0.01, 60), min_size=1, max_size=20),
)
def test_depth_code_is_invertible(near: float, far: float, metres: list[float]) -> None:
    codec = DepthCodec(near, far)
    values = torch.tensor(sorted(metres), dtype=torch.float64)
    code, valid = codec.encode(values)
    assert valid.all()
    assert code.abs().max() <= 1 + 1e-9
    assert (code.diff() <= 1e-12).all()  # nearer is larger
    torch.testing.assert_close(codec.decode(code), values.clamp(near, far), rtol=1e-6, atol=1e-9)


def test_depth_code_ends_and_overshoot() -> None:
    codec = DepthCodec(0.1, 10)
    code, _ = codec.encode(torch.tensor([0.1, 10.0]))
    torch.testing.assert_close(code, torch.tensor([1.0, -1.0]))
    torch.testing.assert_close(codec.decode(torch.tensor([1.3, -1.3])), torch.tensor([0.1, 10.0]))


def test_missing_readings_are_far_and_invalid() -> None:
    code, valid = DepthCodec(0.1, 10).encode(torch.tensor([0.0, -1.0, math.nan, math.inf, -math.inf, 1.0]))
    assert valid.tolist() == [False] * 5 + [True]
    assert code[:5].tolist() == [-1] * 5


def test_units_agree() -> None:
    millimetres = torch.tensor([[0, 250, 1234, 9999]])
    metres = to_metres(millimetres.float() / 1000, "m", "d")
    assert metres.dtype == torch.float32
    torch.testing.assert_close(to_metres(millimetres.float(), "mm", "d"), metres)
    torch.testing.assert_close(to_metres(millimetres.to(torch.uint16), "mm", "d"), metres)
    # Integers are millimetres whatever the setting says: raw sensor frames at inference.
    torch.testing.assert_close(to_metres(millimetres.to(torch.uint16), "m", "d"), metres)


def test_depth_of_the_dataset_is_metric() -> None:
    toy = make_toy(THREE_CAMERAS)
    raw, batch = toy.raw([5]), toy.batch([5])
    depth = batch[packed.DEPTH]
    assert depth.shape == (1, 3, 5, 2, 32, 48)
    config = toy.policy.config
    metres = DepthCodec(config.depth_near, config.depth_far).decode(depth[:, :, :, 0])
    for view, camera in enumerate(config.cameras):
        millimetres = raw[f"{camera}_depth"]
        middle = millimetres[0, :, 0].flatten(1).median(dim=1).values / 1000
        torch.testing.assert_close(metres[0, view].flatten(1).median(dim=1).values, middle, rtol=0.1, atol=0)
    assert (depth[:, :, :, 1] == 1).all()


def test_depth_in_metres_gives_the_same_code() -> None:
    in_mm, in_m = (small_config(depth_of=["front"], depth_unit=unit) for unit in ("mm", "m"))
    frames = random_frames(in_mm)
    key = "observation.images.front_depth"
    expected = pack(in_mm, frames)[packed.DEPTH]
    torch.testing.assert_close(pack(in_m, {**frames, key: frames[key] / 1000})[packed.DEPTH], expected)
    rounded = pack(in_m, {**frames, key: frames[key].to(torch.uint16)})[packed.DEPTH]
    torch.testing.assert_close(rounded, expected, atol=0.01, rtol=0)


def test_a_camera_without_depth_earns_no_depth_loss() -> None:
    config = small_config(cameras=["a", "b"], depth_of=["a"])
    policy, batch = XWAMPolicy(config).eval(), packed_batch(config)
    assert (batch[packed.DEPTH][:, 0, :, 1] == 1).all()
    assert (batch[packed.DEPTH][:, 1, :, 1] == 0).all()
    _, logs = policy(batch)
    for view, counts in ((1, False), (0, True)):
        other = {**batch, packed.DEPTH: batch[packed.DEPTH].clone()}
        other[packed.DEPTH][:, view, :, 0] = 0.9
        changed = policy(other)[1]["loss_depth"]
        assert (changed != pytest.approx(logs["loss_depth"], rel=1e-5)) == counts


def test_pixels_without_a_reading_earn_no_depth_loss() -> None:
    config = small_config(depth_of=["front"], crop_ratio=1.0)
    policy, frames = XWAMPolicy(config).eval(), random_frames(config)
    frames["observation.images.front_depth"][..., :28] = 0.0  # the left half
    batch = pack(config, frames)
    depth = batch[packed.DEPTH]
    assert (depth[..., 1, :, :24] == 0).all()
    assert (depth[..., 1, :, 24:] == 1).all()
    seen: list[Tensor] = []
    encode = policy.codecs.video(torch.device("cpu")).encode
    policy.codecs.video(torch.device("cpu")).encode = lambda x: seen.append(encode(x)) or seen[-1]
    _, logs = policy(batch)
    right = seen[1][..., 3:]  # B C T V h w: the depth latents that had readings; a fresh head says 0
    assert logs["loss_depth"] == pytest.approx(right.square().mean().item(), rel=1e-4)
    assert logs["loss_depth"] != pytest.approx(seen[1].square().mean().item(), rel=1e-3)


# --- cameras ---


@pytest.mark.parametrize("count", [1, 2, 8])
def test_cameras_are_sorted_by_name(count: int) -> None:
    names = ["wrist", "top", "left", "front", "right", "back", "a2", "a10"][:count]
    config = small_config(cameras=names)
    frames = random_frames(config)
    for i, name in enumerate(names):
        frames[f"observation.images.{name}"][:] = i / 10
    video = pack(config, frames)[packed.VIDEO]
    assert video.shape == (2, count, 5, 3, 32, 48)
    order = [names.index(name) for name in sorted(names)]
    torch.testing.assert_close(video[0, :, 0, 0, 0, 0], torch.tensor(order) / 5 - 1)
    loss, _ = XWAMPolicy(config)(pack(config, frames))
    assert torch.isfinite(loss)


def test_cameras_may_have_any_size() -> None:
    config = small_config(cameras=["a", "b"])
    frames = random_frames(config)
    frames["observation.images.a"] = torch.linspace(0, 1, 90).expand(2, 5, 3, 120, 90)
    frames["observation.images.b"] = torch.full((2, 5, 3, 7, 200), 0.25)
    video = pack(config, frames)[packed.VIDEO]
    assert video.shape == (2, 2, 5, 3, 32, 48)
    torch.testing.assert_close(video[0, 0, 0, 0, 0], torch.linspace(-1, 1, 48), atol=0.03, rtol=0)
    torch.testing.assert_close(video[:, 1], torch.full_like(video[:, 1], -0.5))


def test_uint8_and_float_frames_agree() -> None:
    config = small_config()
    frames = random_frames(config)
    key = "observation.images.front"
    frames[key] = (frames[key] * 255).round()
    as_float = pack(config, {**frames, key: frames[key] / 255})[packed.VIDEO]
    as_bytes = pack(config, {**frames, key: frames[key].to(torch.uint8)})[packed.VIDEO]
    torch.testing.assert_close(as_bytes, as_float)
    assert -1 <= as_float.min() < as_float.max() <= 1


def test_cameras_can_be_renamed_as_lerobot_does(tmp_path: Path) -> None:
    config = small_config()
    pre, post = make_pre_post_processors(config)
    pre.save_pretrained(tmp_path)
    post.save_pretrained(tmp_path)
    rename = {"observation.images.cam0": "observation.images.front"}
    renaming, _ = make_pre_post_processors(
        config,
        pretrained_path=str(tmp_path),
        preprocessor_overrides={"rename_observations_processor": {"rename_map": rename}},
    )
    frames = random_frames(config)
    renamed = {
        {"observation.images.front": "observation.images.cam0"}.get(k, k): v for k, v in frames.items()
    }
    assert torch.equal(renaming(renamed)[packed.VIDEO], pre(frames)[packed.VIDEO])


def test_one_instruction_for_all_or_one_each() -> None:
    config = small_config()
    frames = random_frames(config)
    assert pack(config, {**frames, "task": "sort"})[packed.TASK] == ["sort", "sort"]
    assert pack(config, {**frames, "task": ["a", "b"]})[packed.TASK] == ["a", "b"]
    with pytest.raises(ValueError, match="3 instructions for a batch of 2"):
        pack(config, {**frames, "task": ["a", "b", "c"]})


def test_depth_is_ignored_when_acting() -> None:
    toy = make_toy(THREE_CAMERAS)
    with_depth = toy.observation()
    without = {key: value for key, value in with_depth.items() if "depth" not in key}
    assert len(without) < len(with_depth)
    assert torch.equal(toy.pre(without)[packed.VIDEO], toy.pre(with_depth)[packed.VIDEO])


def test_presets_fill_only_what_is_left_open() -> None:
    config = XWAMConfig(preset="tiny", device="cpu", width=160)
    assert (config.height, config.width, config.dim) == (64, 160, 96)

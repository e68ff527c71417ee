"""Mixtures: three unlike datasets in one run, each with its own statistics, arms, cameras and depth."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import checkpoint, eval_here, lerobot, policy_options, train_here
from lerobot.datasets import EpisodeAwareSampler
from lerobot.datasets.lerobot_dataset import LeRobotDataset, LeRobotDatasetMetadata
from lerobot.policies.factory import make_policy, make_pre_post_processors
from toys import SMALL, THREE_CAMERAS, TWO_ARMS, Toy, World, dataset_root, first_frame, make_toy, wake_up

from lerobot_xwam import XWAMConfig
from lerobot_xwam.cli.main import main
from lerobot_xwam.data import batch as packed
from lerobot_xwam.data.mixture import Mixture
from lerobot_xwam.envs.tabletop.dataset import write_dataset
from lerobot_xwam.mixing.mix import mix
from lerobot_xwam.mixing.recipe import Ingredient, Recipe
from lerobot_xwam.mixing.weights import repeats
from lerobot_xwam.model.fusion import given_of
from lerobot_xwam.model.noise import clock_times
from lerobot_xwam.model.types import Latents
from lerobot_xwam.modeling_xwam import XWAMPolicy

FRONT, LEFT, WRIST = (f"observation.images.{name}" for name in ("front", "left", "wrist"))
TWO_CAMERAS = World(cameras=("front", "wrist"), interface="ee")
WORLDS = {"depth": THREE_CAMERAS, "arms": TWO_ARMS, "plain": TWO_CAMERAS}  # three, one and two cameras
SHARES = [0.5, 0.3, 0.2]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mixture") / "mix"
    mix(Recipe.of([str(dataset_root(world)) for world in WORLDS.values()], list(WORLDS), SHARES), out)
    return out


@pytest.fixture(scope="module")
def toy(root: Path) -> Toy:
    return open_mixture(root)


def open_mixture(root: Path, **settings: Any) -> Toy:
    config = XWAMConfig(**{**SMALL, **settings})
    meta = LeRobotDatasetMetadata("local/mix", root=root)
    seconds = {
        key: [
            i / meta.fps
            for i in (config.action_delta_indices if key == "action" else config.observation_delta_indices)
        ]
        for key in meta.features
        if key == "action" or key.startswith("observation.")
    }
    dataset = LeRobotDataset("local/mix", root=root, delta_timestamps=seconds, video_backend="pyav")
    torch.manual_seed(0)
    policy = wake_up(make_policy(config, ds_meta=dataset.meta))
    return Toy(policy, *make_pre_post_processors(config, dataset_stats=dataset.meta.stats), dataset)


def starts(root: Path) -> list[int]:
    mixture = Mixture.of(root)
    assert mixture is not None
    return np.cumsum([0, *(source.frames for source in mixture.sources)])[:-1].tolist()


def windows_of(root: Path, name: str) -> list[int]:
    first = starts(root)[list(WORLDS).index(name)]
    return [first + 3, first + 9]


# --- On disk ---


def test_a_mixture_is_its_sources_one_behind_the_other(root: Path, toy: Toy) -> None:
    for name, world in WORLDS.items():
        alone = make_toy(world).dataset
        first = starts(root)[list(WORLDS).index(name)]
        for frame in (0, len(alone) - 1):
            own, mixed = alone[frame], toy.dataset[first + frame]
            for key in alone.meta.camera_keys:
                torch.testing.assert_close(mixed[key], own[key], rtol=0, atol=0)
            for key in ("observation.state", "action"):
                width = own[key].shape[-1]
                torch.testing.assert_close(mixed[key][:, :width], own[key], rtol=0, atol=0)
                assert not mixed[key][:, width:].any()
            assert mixed["task"] == own["task"] and mixed["index"] == first + frame
    video = next((root / "videos" / LEFT).rglob("*.mp4"))
    original = next((dataset_root(THREE_CAMERAS) / "videos" / LEFT).rglob("*.mp4"))
    assert video.samefile(original)


def test_weights_are_the_shares_of_what_lerobot_draws(root: Path) -> None:
    meta = LeRobotDatasetMetadata("local/mix", root=root)
    columns = (meta.episodes[f"dataset_{which}_index"] for which in ("from", "to"))
    sampler = EpisodeAwareSampler(*columns, shuffle=True, seed=5)
    drawn = np.array(list(sampler))
    source = np.searchsorted(starts(root), drawn, side="right") - 1
    np.testing.assert_allclose(np.bincount(source) / len(drawn), SHARES, atol=1.5 / len(drawn))
    assert set(drawn.tolist()) == set(range(meta.total_frames))  # nothing is left out
    half = np.bincount(source[: len(drawn) // 2]) / (len(drawn) // 2)
    np.testing.assert_allclose(half, SHARES, atol=0.1)  # shuffled, not one source after the other


def test_repeats() -> None:
    once = repeats([[10, 20], [5]], None)
    assert all(not each.spans for each in once)
    first, second = repeats([[10, 20], [8]], [0.5, 0.5])
    assert not first.spans and first.times == 1 and second.times == 30 / 8
    assert sum(end - begin for _, begin, end in second.spans) + 8 == 30
    with pytest.raises(ValueError, match="more than can be shuffled"):
        repeats([[10**9], [10]], [0.001, 0.999])


def test_statistics_are_each_sources_own(root: Path, toy: Toy) -> None:
    """A window is packed in a mixture as it is packed alone."""
    for name, world in WORLDS.items():
        alone = make_toy(world)
        first = starts(root)[list(WORLDS).index(name)]
        own, mixed = alone.batch((3, 9)), toy.batch((first + 3, first + 9))
        for key in (packed.STATE, packed.STATE_MASK, packed.ACTION, packed.ACTION_MASK):
            torch.testing.assert_close(mixed[key], own[key], rtol=0, atol=0)
        views = [toy.policy.config.cameras.index(camera) for camera in alone.policy.config.cameras]
        torch.testing.assert_close(mixed[packed.VIDEO][:, views], own[packed.VIDEO], rtol=0, atol=0)
        assert mixed[packed.VIEWS][0].nonzero().flatten().tolist() == views
        if world.depth:
            torch.testing.assert_close(mixed[packed.DEPTH][:, views], own[packed.DEPTH], rtol=0, atol=0)
        else:
            assert not mixed[packed.DEPTH][:, :, :, 1].any()  # no pixel has a reading


# --- What is not there teaches nothing ---


def gradients(toy: Toy, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    policy = toy.policy.train()
    policy.zero_grad()
    policy.config.clean_action_ratio = 0.0  # actions are noisy in every sample
    np.random.seed(0)
    loss, logs = policy(batch)
    loss.backward()
    assert logs["loss_actions"] > 0 and logs["loss_states"] > 0
    return {name: each.grad.clone() for name, each in policy.named_parameters() if each.grad is not None}


def test_an_absent_arm_gets_no_gradient(root: Path, toy: Toy) -> None:
    one, two = (gradients(toy, toy.batch(windows_of(root, name))) for name in ("plain", "arms"))
    for head, dims in (("action_out", 7), ("state_out", 8)):
        for part in ("weight", "bias"):
            name = f"net.{head}.2.{part}"
            assert (one[name][dims:] == 0).all() and one[name][:dims].any()
            assert two[name][dims:].any()
    mixed = toy.batch([*windows_of(root, "plain"), *windows_of(root, "arms")])
    assert not mixed[packed.ACTION_MASK][:2, :, 7:].any() and mixed[packed.ACTION_MASK][2:, :, 7:].any()


def test_an_absent_camera_contributes_nothing(root: Path, toy: Toy) -> None:
    """Its tokens are not looked at and not learnt from: whatever is shown there changes no number."""
    batch = toy.batch(windows_of(root, "plain"))
    black = gradients(toy, batch)
    view = toy.policy.config.cameras.index(LEFT)
    assert (black["net.view_embedding.weight"][view] == 0).all()
    video = batch[packed.VIDEO].clone()
    video[:, view] = torch.rand_like(video[:, view]) * 2 - 1
    noisy = gradients(toy, {**batch, packed.VIDEO: video})
    for name, each in black.items():
        torch.testing.assert_close(noisy[name], each, rtol=0, atol=0)


def test_absent_depth_contributes_nothing(root: Path, toy: Toy) -> None:
    without, with_depth = (gradients(toy, toy.batch(windows_of(root, name))) for name in ("arms", "depth"))
    of_depth = [name for name in with_depth if "depth" in name]
    assert of_depth and all(with_depth[name].any() for name in of_depth)
    assert all(name not in without or not without[name].any() for name in of_depth)


def test_a_masked_view_is_a_view_that_is_not_there(toy: Toy) -> None:
    """The network with a camera masked says what it says without that camera."""
    cfg, net = toy.policy.config, toy.policy.eval().net
    video = torch.randn(
        2,
        cfg.latent_channels,
        cfg.latent_frames,
        3,
        cfg.height // cfg.vae_stride,
        cfg.width // cfg.vae_stride,
    )
    actions, states = torch.randn(2, cfg.chunk_size, 14), torch.randn(2, cfg.num_frames, 16)
    text = net.embed_text(torch.randn(2, cfg.text_tokens, cfg.text_dim))
    said = []
    for shown, views in ((video, torch.tensor([[True, True, False]] * 2)), (video[:, :, :, :2], None)):
        x = Latents(shown, actions, states)
        times = clock_times(torch.full((2,), 700.0), torch.full((2,), 300.0), given_of(x, "interleaved"))
        with torch.no_grad():
            said.append(net(x, times, text, depth=True, views=views))
    masked, fewer = said
    torch.testing.assert_close(masked.velocity.actions, fewer.velocity.actions, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(masked.velocity.video[:, :, :, :2], fewer.velocity.video, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(masked.depth[:, :, :, :2], fewer.depth, rtol=1e-5, atol=1e-5)


def test_passes_of_a_batch_add_up(root: Path) -> None:
    """micro_batch with masks of cameras, arms and depth."""
    indices = [*windows_of(root, "depth"), *windows_of(root, "arms"), *windows_of(root, "plain")]
    found = []
    for size in (0, 4):
        toy = open_mixture(root, micro_batch=size)
        found.append(gradients(toy, toy.batch(indices)))
    for name, each in found[0].items():
        torch.testing.assert_close(found[1][name], each, rtol=1e-4, atol=1e-6)


# --- lerobot-train, lerobot-eval ---


def options(root: Path, output: Path, *more: str, **settings: Any) -> list[str]:
    return [
        *policy_options(**settings),
        "--dataset.repo_id=local/mix",
        f"--dataset.root={root}",
        "--dataset.video_backend=pyav",
        f"--output_dir={output}",
        "--num_workers=0",
        "--env_eval_freq=0",
        "--log_freq=1",
        "--wandb.enable=false",
        "--batch_size=3",
        *more,
    ]


@pytest.fixture(scope="module")
def trained(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    output = tmp_path_factory.mktemp("trained") / "run"
    losses = train_here(*options(root, output, "--steps=4", "--save_freq=2"))
    return output, losses


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_nothing_was(trained: tuple[Path, list[float]], tmp_path: Path) -> None:
    output, losses = trained
    shutil.copytree(output, tmp_path / "run", symlinks=True)
    config = checkpoint(tmp_path / "run", 2) / "train_config.json"
    told = json.loads(config.read_text())
    told["output_dir"] = str(tmp_path / "run")
    config.write_text(json.dumps(told))
    shutil.rmtree(checkpoint(tmp_path / "run", 4).parent)
    (tmp_path / "run" / "checkpoints" / "last").unlink()
    (tmp_path / "run" / "checkpoints" / "last").symlink_to("000002")
    assert train_here(f"--config_path={config}", "--resume=true") == losses[2:]


@pytest.mark.slow
def test_trains_on_cached_latents(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "latents"
    settings = tmp_path / "policy.json"
    settings.write_text(json.dumps({"policy": {"type": "xwam", **SMALL}}))
    assert not main(
        [
            "cache-latents",
            "--config",
            str(settings),
            "--dataset",
            str(root),
            "--variants",
            "1",
            "--out",
            str(cache),
        ]
    )
    losses = train_here(*options(cache / "dataset", tmp_path / "run", "--steps=2", latent_cache=str(cache)))
    assert len(losses) == 2 and np.isfinite(losses).all()
    saved = json.loads((checkpoint(tmp_path / "run", 2) / "config.json").read_text())
    assert saved["sources"] == list(WORLDS)


@pytest.mark.slow
def test_the_command_itself(root: Path, tmp_path: Path) -> None:
    output = lerobot("train", *options(root, tmp_path / "run", "--steps=3"))
    assert "share_arms" in output
    assert (checkpoint(tmp_path / "run", 3) / "model.safetensors").is_file()


@pytest.mark.parametrize("name", list(WORLDS))
def test_a_source_of_a_checkpoint_acts_as_it_was_trained(
    root: Path, trained: tuple[Path, list[float]], name: str, tmp_path: Path
) -> None:
    """Its scaling is that of the dataset alone; its cameras find the views they were trained as."""
    saved = checkpoint(trained[0], 4)
    world, alone = WORLDS[name], make_toy(WORLDS[name])
    config = XWAMConfig.from_pretrained(saved, cli_overrides=[f"--source={name}"])
    config.pretrained_path = saved
    policy = XWAMPolicy.from_pretrained(saved, config=config)
    pre, post = make_pre_post_processors(config, pretrained_path=str(config.pretrained_path))
    assert policy.config.cameras == alone.policy.config.cameras
    item = alone.dataset[5]
    ours, theirs = pre(first_frame(item)), alone.pre(first_frame(item))
    for key in (packed.STATE, packed.VIDEO):
        torch.testing.assert_close(ours[key], theirs[key])
    action = torch.randn(1, 14)
    torch.testing.assert_close(post(action), alone.post(action))
    mixed = XWAMPolicy.from_pretrained(saved)
    views = [mixed.config.cameras.index(camera) for camera in policy.config.cameras]
    kept = policy.net.view_embedding.weight[: len(views)]
    torch.testing.assert_close(kept, mixed.net.view_embedding.weight[views])
    assert len(world.cameras) == len(views)

    policy.save_pretrained(tmp_path)  # as a checkpoint of its own it needs no choice
    again = XWAMPolicy.from_pretrained(tmp_path)
    torch.testing.assert_close(again.net.view_embedding.weight, policy.net.view_embedding.weight)
    assert policy.select_action(ours).shape == (1, 14)


def test_acting_without_a_source_is_refused(
    root: Path, trained: tuple[Path, list[float]], tmp_path: Path
) -> None:
    saved = checkpoint(trained[0], 4)
    evaluation = [
        f"--policy.path={saved}",
        "--policy.n_action_steps=8",
        "--env.type=xwam_tabletop",
        "--env.task=lift_two_arms",
        "--env.cameras=front",
        "--env.episode_length=4",
        "--env.observation_height=48",
        "--env.observation_width=64",
        "--eval.n_episodes=1",
        "--eval.batch_size=1",
        f"--output_dir={tmp_path / 'eval'}",
    ]
    rename = "--rename_map={}"
    with pytest.raises(ValueError, match=r"--policy\.source=depth"):
        eval_here(*evaluation, '--rename_map={"observation.images.nothing": "observation.images.front"}')
    with pytest.raises(ValueError, match=r"trained on 3 datasets.*choose one"):
        eval_here(*evaluation, "--policy.source=nobody", rename)
    eval_here(*evaluation, "--policy.source=arms", rename)
    assert json.loads((tmp_path / "eval" / "eval_info.json").read_text())["overall"]["n_episodes"] == 1


def test_a_checkpoint_goes_on_with_its_own_mixture_only(
    trained: tuple[Path, list[float]], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    mix(Recipe.of([str(dataset_root(WORLDS[name])) for name in ("depth", "arms")], None, None), other)
    with pytest.raises(ValueError, match=r"--policy\.base_weights"):
        train_here(
            f"--policy.path={checkpoint(trained[0], 4)}",
            "--policy.push_to_hub=false",
            *options(other, tmp_path / "run", "--steps=1")[len(policy_options()) :],
        )


# --- What does not go together ---


def test_pictures_of_several_sizes(tmp_path: Path) -> None:
    roots = []
    for height, width in ((80, 96), (40, 48)):
        path = tmp_path / f"height{height}"
        write_dataset(path, episodes=1, cameras=["front"], size=(height, width), seed=7, progress=False)
        roots.append(str(path))
    recipe = Recipe.of(roots, None, None)
    with pytest.raises(ValueError, match="--size H W"):
        mix(recipe, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    mixture, _ = mix(recipe, tmp_path / "mix", size=(40, 48))
    first = mixture.sources[0].frames
    dataset = LeRobotDataset("local/mix", root=tmp_path / "mix", video_backend="pyav")
    a, b = dataset[4], dataset[first + 4]  # the same scene, photographed at both sizes
    assert (a[FRONT] - b[FRONT]).abs().mean() < 0.03
    ratio = a[f"{FRONT}_depth"] / b[f"{FRONT}_depth"]
    assert ratio.median().item() == pytest.approx(1, abs=0.01)


def test_slots_of_cameras(tmp_path: Path) -> None:
    roots = {name: str(dataset_root(world)) for name, world in WORLDS.items()}
    chosen = {"view1": "front", "view2": "wrist"}
    out = tmp_path / "mix"
    recipe = tmp_path / "recipe.json"
    sources = [
        {"name": "a", "dataset": roots["depth"], "cameras": chosen},
        {"name": "b", "dataset": roots["arms"], "cameras": {"view2": "front"}},
    ]
    recipe.write_text(json.dumps({"sources": sources}))
    assert main(["mix", "--recipe", str(recipe), "--out", str(out)]) == 0
    mixture = Mixture.of(out)
    assert mixture is not None
    views = [f"observation.images.view{k}" for k in (1, 2)]
    assert mixture.sources[0].cameras == dict(zip(views, (FRONT, WRIST), strict=True))
    assert mixture.sources[1].cameras == {views[1]: FRONT}
    assert mixture.sources[0].weight == pytest.approx(
        mixture.sources[0].frames / sum(s.frames for s in mixture.sources)
    )


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (
            [("a", "depth", {"x": "front"}), ("b", "arms", {"x": "back"})],
            "no camera 'observation.images.back'",
        ),
        ([("a", "depth", None), ("a", "arms", None)], "a name of its own"),
        ([("a", "depth", None)], "two or more"),
    ],
)
def test_bad_recipes(sources: list[Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        named = [
            Ingredient(name, str(dataset_root(WORLDS[world])), None, cameras)
            for name, world, cameras in sources
        ]
        mix(Recipe(tuple(named)), tmp_path / "mix")
    assert not (tmp_path / "mix").exists()


def test_joints_and_hands_do_not_mix(tmp_path: Path) -> None:
    joints = dataset_root(World())
    with pytest.raises(ValueError, match=r"interface differs: .*universal end-effector interface"):
        mix(Recipe.of([str(joints), str(dataset_root(TWO_ARMS))], None, None), tmp_path / "mix")


def test_a_source_is_not_for_training(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="all sources of a mixture are trained"):
        train_here(*options(root, tmp_path / "run", "--steps=1", source="arms"))

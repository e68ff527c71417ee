"""Cached latents: the same loss without frames and VAE, never stale, never half there."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import forked
import numpy as np
import pytest
import torch
from commands import BIN, checkpoint, lerobot, policy_options, run, train_here
from lerobot.datasets import dataset_reader
from lerobot.datasets.factory import resolve_delta_timestamps
from lerobot.datasets.lerobot_dataset import LeRobotDataset, LeRobotDatasetMetadata
from lerobot.policies.factory import make_policy, make_pre_post_processors
from lerobot.utils.feature_utils import dataset_to_policy_features
from test_conversion_failures import mount_small_disk
from test_distributed import LOOPBACK, TESTS, free_port
from torch.utils.data import default_collate
from toys import (
    ONE_CAMERA,
    OTHER_SCENES,
    SMALL,
    THREE_CAMERAS,
    World,
    dataset_root,
    metadata,
    small_config,
)

from lerobot_xwam import XWAMConfig
from lerobot_xwam.caching import build
from lerobot_xwam.cli.main import main
from lerobot_xwam.codecs import video
from lerobot_xwam.codecs.bundle import Codecs
from lerobot_xwam.codecs.source import PACKAGED
from lerobot_xwam.data.latent_store import shards
from lerobot_xwam.data.latent_store.manifest import Manifest
from lerobot_xwam.data.latent_store.store import LatentStore
from lerobot_xwam.modeling_xwam import XWAMPolicy
from lerobot_xwam.training.encoding import encode_augmented
from lerobot_xwam.training.randomness import variant_generators
from lerobot_xwam.weights import output_folder


def training_config(folder: Path, **settings: Any) -> Path:
    path = folder / "train.json"
    path.write_text(json.dumps({"policy": {"type": "xwam", **SMALL, **settings}}))
    return path


def cache_latents(config: Path, out: Path, world: World, *more: str) -> int:
    command = ["cache-latents", "--config", str(config), "--dataset", str(dataset_root(world))]
    return main([*command, "--out", str(out), *more])


def opened(config: XWAMConfig, root: Path) -> LeRobotDataset:
    """The dataset as lerobot-train opens it."""
    meta = LeRobotDatasetMetadata("local/toy", root=root)
    return LeRobotDataset(
        "local/toy",
        root=root,
        delta_timestamps=resolve_delta_timestamps(config, meta),
        video_backend="pyav",
        return_uint8=True,
    )


def make(root: Path, **settings: Any) -> tuple[XWAMPolicy, Any, LeRobotDataset]:
    """A policy in training, its preprocessor and its dataset; the same weights every time."""
    torch.manual_seed(0)
    config = XWAMConfig(**{**SMALL, **settings})
    dataset = opened(config, root)
    policy = make_policy(config, ds_meta=dataset.meta)
    preprocess, _ = make_pre_post_processors(config, dataset_stats=dataset.meta.stats)
    return policy.train(), preprocess, dataset


def batch_of(dataset: LeRobotDataset, preprocess: Any, indices: list[int]) -> dict[str, Any]:
    return preprocess(default_collate([dataset[index] for index in indices]))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two variants of the first episode's windows: three cameras with depth, float32."""
    folder = tmp_path_factory.mktemp("latents")
    out = folder / "cache"
    assert cache_latents(training_config(folder), out, THREE_CAMERAS, "--variants=2", "--episodes", "0") == 0
    return out


@pytest.fixture
def copied(cache: Path, tmp_path: Path) -> Path:
    """A cache that a test may spoil."""
    return Path(shutil.copytree(cache, tmp_path / "cache"))


# --- the same training ---


def test_the_loss_is_that_of_the_uncached_crop(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly, in float32: without frames, and without ever loading the VAE."""
    windows = [0, 17, 30, 48]  # the last ones reach beyond the episode's end
    plain, preprocess, dataset = make(dataset_root(THREE_CAMERAS))
    cached, blind_preprocess, blind = make(cache / "dataset", latent_cache=str(cache))
    store, seed = cached.latent_cache, cached.latent_cache.store.manifest.seed
    drawn = []

    def encoded(clip: Any, generators: list[torch.Generator], batch: dict[str, Any]) -> Any:
        variants = store.choose(generators)
        drawn.append(variants)
        parts = zip(windows, variants, clip.observation.video, clip.depth, strict=True)
        codec, how = plain.codecs.video(torch.device("cpu")), plain.config.augmentation
        found = [
            encode_augmented(
                codec, rgb[None], depth[None], how, variant_generators([window], [variant], seed)
            )
            for window, variant, rgb, depth in parts
        ]
        join = [torch.cat([getattr(each, name) for each in found]) for name in ("video", "depth", "valid")]
        return type(found[0])(*join)

    monkeypatch.setattr(plain, "_encoded", encoded)
    np.random.seed(1)
    wanted, wanted_logs = plain.forward(batch_of(dataset, preprocess, windows))

    monkeypatch.setattr(video.VideoCodec, "load", lambda *_: pytest.fail("the VAE was loaded"))
    monkeypatch.setattr(dataset_reader, "decode_video_frames", lambda *_: pytest.fail("a frame was decoded"))
    np.random.seed(1)
    loss, logs = cached.forward(batch_of(blind, blind_preprocess, windows))
    assert torch.equal(loss, wanted) and logs == wanted_logs
    assert {"loss_depth", "loss_video"} <= logs.keys()
    assert {0, 1} == set(drawn[0])
    loss.backward()
    wanted.backward()
    for (name, one), (_, two) in zip(cached.named_parameters(), plain.named_parameters(), strict=True):
        assert (one.grad is None) == (two.grad is None), name
        assert one.grad is None or torch.equal(one.grad, two.grad), name


def test_with_the_original_dataset_latents_come_from_the_cache_too(cache: Path, monkeypatch, caplog) -> None:
    cached, preprocess, dataset = make(dataset_root(THREE_CAMERAS), latent_cache=str(cache))
    assert f"--dataset.root={cache / 'dataset'}" in caplog.text
    blind, blind_preprocess, blind_dataset = make(cache / "dataset", latent_cache=str(cache))
    monkeypatch.setattr(video.VideoCodec, "load", lambda *_: pytest.fail("the VAE was loaded"))
    losses = []
    for policy, pre, data in ((cached, preprocess, dataset), (blind, blind_preprocess, blind_dataset)):
        np.random.seed(1)
        losses.append(float(policy.forward(batch_of(data, pre, [3, 9]))[0]))
    assert losses[0] == losses[1]


def test_everything_but_the_frames_is_the_originals(cache: Path) -> None:
    config = XWAMConfig(**SMALL)
    full, bare = opened(config, dataset_root(THREE_CAMERAS)), opened(config, cache / "dataset")
    assert len(full) == len(bare)
    for index in (0, 40, len(full) - 1):
        one, two = full[index], bare[index]
        images = {key for key in one if key.startswith("observation.images.")}
        assert images and two.keys() == one.keys() - images
        for key, value in two.items():
            assert torch.equal(value, one[key]) if torch.is_tensor(value) else value == one[key], key
    assert np.array_equal(full.meta.stats["action"]["q99"], bare.meta.stats["action"]["q99"])


def test_variants_differ_and_all_are_drawn(cache: Path) -> None:
    store = LatentStore(cache)
    one, two = (store.read([5], [variant])["video"] for variant in (0, 1))
    assert not torch.equal(one, two)
    policy, *_ = make(cache / "dataset", latent_cache=str(cache))
    generators = [torch.Generator().manual_seed(i) for i in range(40)]
    drawn = policy.latent_cache.choose(generators)
    assert 10 < sum(drawn) < 30


def test_validation_reads_the_cache_where_there_are_no_frames(cache: Path) -> None:
    policy, preprocess, dataset = make(cache / "dataset", latent_cache=str(cache))
    batch = batch_of(dataset, preprocess, [3, 9])
    policy.eval()
    with torch.no_grad():
        assert float(policy.forward(batch)[0]) == float(policy.forward(batch)[0])


def test_lerobot_train_from_the_cache_and_on_from_its_checkpoint(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Train, resume and fine-tune with LeRobot's command. The folder without frames serves all three."""
    data = [
        "--dataset.repo_id=local/toy",
        f"--dataset.root={cache / 'dataset'}",
        "--dataset.episodes=[0]",
        "--batch_size=2",
        "--num_workers=0",
        "--env_eval_freq=0",
        "--log_freq=1",
        "--wandb.enable=false",
    ]
    output = tmp_path / "run"
    start = policy_options(latent_cache=cache)
    printed = lerobot("train", *start, *data, "--steps=2", "--save_freq=2", f"--output_dir={output}")
    assert "End of training" in printed and "loss_depth:" in printed
    saved = checkpoint(output, 2)
    monkeypatch.setattr(video.VideoCodec, "load", lambda *_: pytest.fail("the VAE was loaded"))
    assert len(train_here(f"--config_path={saved / 'train_config.json'}", "--resume=true", "--steps=3")) == 1
    tuned = [f"--policy.path={saved}", "--policy.push_to_hub=false", f"--output_dir={tmp_path / 'tuned'}"]
    assert len(train_here(*tuned, *data, "--steps=1")) == 1
    root = dataset_root(THREE_CAMERAS)
    known = ["cache-latents", "--policy", str(saved), "--dataset", str(root), "--out", str(cache)]
    monkeypatch.undo()
    before = (cache / "manifest.json").read_bytes()
    assert main([*known, "--variants=2", "--episodes", "0"]) == 0  # the checkpoint's latents: all are there
    assert (cache / "manifest.json").read_bytes() == before


SAME_TASK = World(seed=4)  # two episodes with the same wording, so that one can be held out


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One variant of every window of one camera."""
    folder = tmp_path_factory.mktemp("all")
    assert cache_latents(training_config(folder), folder / "cache", SAME_TASK, "--variants=1") == 0
    return folder / "cache"


def from_cache(whole: Path, output: Path, root: Path, *more: str) -> list[str]:
    return [
        *policy_options(latent_cache=whole),
        "--dataset.repo_id=local/toy",
        f"--dataset.root={root}",
        "--dataset.video_backend=pyav",
        "--batch_size=2",
        "--steps=2",
        "--num_workers=0",
        "--env_eval_freq=0",
        "--save_checkpoint=false",
        "--wandb.enable=false",
        f"--output_dir={output}",
        *more,
    ]


@pytest.mark.slow
def test_episodes_that_were_held_out(whole: Path, tmp_path: Path) -> None:
    """--dataset.eval_split: from the cache where there are no frames, else as the robot sees them."""
    trained, validated, original = [], [], XWAMPolicy.forward
    for name, root in (("bare", whole / "dataset"), ("full", dataset_root(SAME_TASK))):
        losses: list[float] = []

        def spied(policy: XWAMPolicy, batch: Any, *args: Any, seen: list[float] = losses) -> Any:
            loss, logs = original(policy, batch, *args)
            if not policy.training:
                seen.append(loss.item())
            return loss, logs

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(XWAMPolicy, "forward", spied)
            split = ["--dataset.eval_split=0.5", "--eval_steps=2"]
            trained.append(train_here(*from_cache(whole, tmp_path / name, root, *split)))
        validated.append(losses)
    assert len(trained[0]) == 2 and trained[0] == trained[1]
    bare, full = validated
    assert len(bare) == len(full) > 0
    assert np.isfinite(bare).all() and bare != full  # augmented, or the middle of the frames
    assert np.mean(bare) == pytest.approx(np.mean(full), rel=0.2)


def test_image_transforms_have_no_say_in_cached_latents(whole: Path, tmp_path: Path) -> None:
    transforms = ["--dataset.image_transforms.enable=true"]
    root = dataset_root(SAME_TASK)
    plain, changed = (
        train_here(*from_cache(whole, tmp_path / name, root, *more))
        for name, more in (("plain", []), ("changed", transforms))
    )
    assert changed == plain


def test_renamed_cameras_have_no_latents(whole: Path, tmp_path: Path) -> None:
    """The cache knows the dataset's cameras by the dataset's names."""
    start = tmp_path / "start"
    known = metadata(SAME_TASK).features
    state, action = (known[key]["shape"][0] for key in ("observation.state", "action"))
    XWAMPolicy(small_config(["top"], state, action)).save_pretrained(start)
    rename = '--rename_map={"observation.images.front": "observation.images.top"}'
    options = [
        o for o in from_cache(whole, tmp_path / "run", dataset_root(SAME_TASK)) if "--policy." not in o
    ]
    options += [f"--policy.path={start}", f"--policy.latent_cache={whole}", "--policy.push_to_hub=false"]
    with pytest.raises(ValueError, match="made from something else") as error:
        train_here(*options, rename)
    assert "cameras in order: was ['observation.images.front'], is ['observation.images.top']" in str(
        error.value
    )


# --- a cache with depth serves a policy without ---


@pytest.fixture(scope="module")
def without_depth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `cache`, of the same windows in the same variants, made for a policy without depth."""
    folder = tmp_path_factory.mktemp("flat")
    config, out = training_config(folder, depth="none"), folder / "cache"
    assert cache_latents(config, out, THREE_CAMERAS, "--variants=2", "--episodes", "0") == 0
    return out


def test_depth_that_nobody_wants_changes_nothing(cache: Path, without_depth: Path) -> None:
    """The same loss from either cache, with the bare dataset and with the original one."""
    losses = []
    places = [(cache, cache / "dataset"), (cache, dataset_root(THREE_CAMERAS))]
    for folder, root in (*places, (without_depth, without_depth / "dataset")):
        policy, preprocess, dataset = make(root, latent_cache=str(folder), depth="none", depth_far=7.0)
        assert policy.latent_cache.store.manifest.depth == (folder == cache)
        np.random.seed(1)
        loss, logs = policy.forward(batch_of(dataset, preprocess, [0, 17, 48]))
        assert "loss_depth" not in logs
        losses.append(loss.item())
    assert losses[0] == losses[1] == losses[2]


def test_a_policy_without_depth_is_still_refused_what_is_not_its_own(cache: Path) -> None:
    with pytest.raises(ValueError, match="height: was 32, is 48"):
        make(cache / "dataset", latent_cache=str(cache), depth="none", height=48)
    with pytest.raises(ValueError, match=r"dataset videos/observation.images.front/.*\.mp4: was"):
        make(dataset_root(OTHER_SCENES), latent_cache=str(cache), depth="none")


@pytest.mark.parametrize("depth", ["interleaved", "sequence", "channel"])
def test_a_policy_with_depth_refuses_a_cache_without(without_depth: Path, depth: str) -> None:
    with pytest.raises(ValueError, match=r"depth features: was \[\], is \['observation"):
        make(without_depth / "dataset", latent_cache=str(without_depth), depth=depth)


# --- never stale ---


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"crop_ratio": 0.9}, "augmentation: crop_ratio: was 0.95, is 0.9"),
        ({"hue": 0.1}, "augmentation: hue: was 0.05, is 0.1"),
        ({"height": 48}, "height: was 32, is 48"),
        ({"num_frames": 9}, "num_frames: was 5, is 9"),
        ({"actions_per_frame": 2}, "actions_per_frame: was 4, is 2"),
        ({"depth_far": 5.0}, "depth_far: was 10.0, is 5.0"),
    ],
)
def test_other_settings_are_refused(cache: Path, settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match="made from something else") as error:
        make(cache / "dataset", latent_cache=str(cache), **settings)
    assert named in str(error.value)


def test_other_cameras_are_refused(cache: Path) -> None:
    known = dataset_to_policy_features(metadata(THREE_CAMERAS).features)
    fewer = {key: known[key] for key in ("observation.state", "observation.images.front")}
    with pytest.raises(ValueError, match="cameras in order: was"):
        make(dataset_root(THREE_CAMERAS), latent_cache=str(cache), input_features=fewer)


def test_another_dataset_is_refused(cache: Path) -> None:
    with pytest.raises(ValueError, match=r"dataset videos/observation.images.front/.*\.mp4: was"):
        make(dataset_root(OTHER_SCENES), latent_cache=str(cache))


def test_a_changed_original_is_refused_by_name(cache: Path, tmp_path: Path) -> None:
    """Even when training reads the copy without frames."""
    root = Path(shutil.copytree(dataset_root(THREE_CAMERAS), tmp_path / "data"))
    source = json.loads((cache / "manifest.json").read_text())
    spoiled = Path(shutil.copytree(cache, tmp_path / "cache"))
    source["source"]["root"] = str(root)
    (spoiled / "manifest.json").write_text(json.dumps(source))
    make(spoiled / "dataset", latent_cache=str(spoiled))
    film = next((root / "videos/observation.images.left_depth").rglob("*.mp4"))
    with film.open("ab") as file:
        file.write(b"x")
    for place in (spoiled / "dataset", root):
        with pytest.raises(ValueError, match=r"dataset videos/observation.images.left_depth/.*: was"):
            make(place, latent_cache=str(spoiled))


def test_the_copy_of_another_cache_is_refused(cache: Path, small_shards: tuple[Path, Path]) -> None:
    with pytest.raises(ValueError, match="was made for another cache"):
        make(small_shards[1] / "dataset", latent_cache=str(cache))


def test_a_changed_copy_is_refused(copied: Path) -> None:
    path = copied / "dataset/meta/stats.json"
    path.write_text(path.read_text().replace("1", "2"))
    with pytest.raises(ValueError, match=r"stats.json: changed since the latents were cached"):
        make(copied / "dataset", latent_cache=str(copied))


def test_another_vae_is_refused(cache: Path, tmp_path: Path) -> None:
    codecs = Path(shutil.copytree(PACKAGED["tiny"], tmp_path / "codecs"))
    make(cache / "dataset", latent_cache=str(cache), codecs=str(codecs))  # the same files elsewhere
    weights = codecs / "vae/diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=r"VAE diffusion_pytorch_model\.safetensors: was"):
        make(cache / "dataset", latent_cache=str(cache), codecs=str(codecs))


def test_the_same_folder_is_not_filled_with_something_else(cache: Path, tmp_path: Path, capsys) -> None:
    config = training_config(tmp_path)
    more = ("--variants=2", "--episodes", "0")
    assert cache_latents(config, cache, THREE_CAMERAS, *more[:1], "--variants=3", *more[1:]) == 1
    assert "variants: was 2, is 3" in capsys.readouterr().err
    assert cache_latents(config, cache, THREE_CAMERAS, *more, "--set", "saturation=0.5") == 1
    assert "augmentation: saturation: was 0.2, is 0.5" in capsys.readouterr().err
    (tmp_path / "notes.txt").write_text("mine")
    assert cache_latents(config, tmp_path, THREE_CAMERAS, *more) == 1
    assert "a folder with other things in it" in capsys.readouterr().err


def test_a_window_that_was_not_cached_says_which_episodes_are(cache: Path) -> None:
    policy, preprocess, dataset = make(cache / "dataset", latent_cache=str(cache))
    outside = len(dataset) - 1
    with pytest.raises(ValueError, match=rf"frame {outside} .* only \[0\] episodes.*--dataset.episodes"):
        policy.forward(batch_of(dataset, preprocess, [outside]))


def test_no_frames_and_no_cache(cache: Path) -> None:
    """The dataset without frames needs its cache."""
    _, preprocess, dataset = make(cache / "dataset", latent_cache=str(cache))
    policy, *_ = make(dataset_root(THREE_CAMERAS))
    with pytest.raises(ValueError, match=r"no camera images.*--policy.latent_cache"):
        policy.forward(batch_of(dataset, preprocess, [0]))
    with pytest.raises(ValueError, match="needs at least one RGB camera"):
        make(cache / "dataset")
    with pytest.raises(FileNotFoundError, match="no latent cache here"):
        make(cache / "dataset", latent_cache=str(cache / "nowhere"))


# --- never half there ---


def test_a_missing_shard_and_a_newer_format(copied: Path) -> None:
    (copied / "latents-000000.safetensors").unlink()
    with pytest.raises(ValueError, match="1 of 1 shards of this latent cache are missing"):
        make(copied / "dataset", latent_cache=str(copied))
    manifest = json.loads((copied / "manifest.json").read_text()) | {"format": 99}
    (copied / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="format 99"):
        make(copied / "dataset", latent_cache=str(copied))


def test_a_damaged_shard(copied: Path, cache: Path) -> None:
    path = copied / "latents-000000.safetensors"
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1  # one bit of the last window's latents
    path.write_bytes(content)
    store = LatentStore(copied)
    store.read([0], [0])
    rows = len(store.manifest.positions(0))
    with pytest.raises(ValueError, match="check sum"):
        store.shard(0).verify(rows, 2)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="corrupt or cut off"):
        LatentStore(copied).read([0], [0])
    shutil.copy(cache / path.name, path)
    changed = json.loads((copied / "manifest.json").read_text()) | {"seed": 5}
    (copied / "manifest.json").write_text(json.dumps(changed))
    with pytest.raises(ValueError, match="belongs to another cache"):
        LatentStore(copied).read([0], [0])


@pytest.fixture(scope="module")
def small_shards(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(configuration, complete cache) of one camera, eight windows to a shard, never interrupted."""
    folder = tmp_path_factory.mktemp("small")
    config = training_config(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "SHARD_WINDOWS", 8)
        assert cache_latents(config, folder / "whole", ONE_CAMERA, "--variants=1", "--episodes", "1") == 0
    return config, folder / "whole"


def test_killed_in_the_middle(small_shards: tuple[Path, Path], tmp_path: Path, monkeypatch, capsys) -> None:
    """kill -9: what was stored stays as it is, the next run makes the rest, and the whole is the same."""
    config, whole = small_shards
    out = tmp_path / "cache"
    arguments = ["cache-latents", "--config", str(config), "--dataset", str(dataset_root(ONE_CAMERA))]
    arguments += ["--out", str(out), "--variants=1", "--episodes", "1"]
    monkeypatch.setattr(build, "SHARD_WINDOWS", 8)
    child = forked.start(lambda: main(arguments), tmp_path / "log.txt")
    try:
        deadline = time.monotonic() + 60
        while len(list(out.glob("latents-*"))) < 2:
            assert time.monotonic() < deadline, (tmp_path / "log.txt").read_text()
            time.sleep(0.01)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    stored = {path: path.stat().st_mtime_ns for path in out.glob("latents-*")}
    known = Manifest.read(out)
    assert 2 <= len(stored) < known.shards
    (out / ".latents-000004.safetensors.half").write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="shards of this latent cache are missing"):
        make(out / "dataset", latent_cache=str(out))

    assert main(arguments) == 0
    assert all(path.stat().st_mtime_ns == when for path, when in stored.items())
    names = {path.name for path in whole.iterdir()}
    assert {path.name for path in out.iterdir()} == names
    for name in names - {"dataset"}:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    capsys.readouterr()
    assert main(arguments) == 0  # nothing left to do
    assert "complete" in capsys.readouterr().out


def test_damaged_shards_are_made_again(small_shards: tuple[Path, Path], tmp_path: Path, monkeypatch) -> None:
    config, whole = small_shards
    out = Path(shutil.copytree(whole, tmp_path / "cache"))
    damaged, cut = out / "latents-000001.safetensors", out / "latents-000003.safetensors"
    cut.write_bytes(cut.read_bytes()[:1000])
    content = bytearray(damaged.read_bytes())
    content[-100] ^= 1
    damaged.write_bytes(content)
    monkeypatch.setattr(build, "SHARD_WINDOWS", 8)
    assert cache_latents(config, out, ONE_CAMERA, "--variants=1", "--episodes", "1", "--verify") == 0
    for path in (damaged, cut):
        assert path.read_bytes() == (whole / path.name).read_bytes()


def test_a_full_disk(small_shards: tuple[Path, Path], tmp_path: Path, monkeypatch, capsys) -> None:
    config, _ = small_shards
    out = tmp_path / "cache"
    more = ("--variants=1", "--episodes", "1")
    monkeypatch.setattr(build, "SHARD_WINDOWS", 8)
    with monkeypatch.context() as patch:
        free = SimpleNamespace(free=output_folder.MARGIN + 1000)
        patch.setattr(output_folder.shutil, "disk_usage", lambda _: free)
        assert cache_latents(config, out, ONE_CAMERA, *more) == 1
    assert "GB are needed" in capsys.readouterr().err and not out.exists()

    written = []

    def fsync(handle: int) -> None:
        if len(written) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(handle)

    with monkeypatch.context() as patch:
        patch.setattr(shards.os, "fsync", fsync)
        assert cache_latents(config, out, ONE_CAMERA, *more) == 1
    error = capsys.readouterr().err
    assert "is full" in error and "stored and kept" in error
    assert [path.name for path in sorted(out.glob("*latents-*"))] == ["latents-000000.safetensors"]
    assert not list(out.glob(".latents*"))


def test_a_small_disk_for_real(small_shards: tuple[Path, Path], tmp_path: Path, monkeypatch) -> None:
    """300 kB that fill up in the middle: whole shards stay, no half one."""
    config, _ = small_shards
    disk = tmp_path / "disk"
    disk.mkdir()

    def cramped() -> int:
        if not mount_small_disk(disk):
            return 77
        monkeypatch.setattr(output_folder.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**40))
        monkeypatch.setattr(build, "SHARD_WINDOWS", 2)
        code = cache_latents(config, disk / "cache", ONE_CAMERA, "--variants=8")
        store = LatentStore(disk / "cache")
        whole = store.manifest.shards - len(store.missing())
        for number in range(whole):
            store.shard(number).verify(2, 8)
        print("whole:", whole, "half:", list((disk / "cache").glob(".latents*")))
        return code

    ended = forked.run(cramped, tmp_path / "log.txt")
    if ended.code == 77:
        pytest.skip("this user may not mount a small disk")
    assert ended.code == 1, ended.output
    assert "is full" in ended.output and "stored and kept" in ended.output
    assert re.search(r"whole: [1-9]\d* half: \[\]", ended.output), ended.output


@pytest.mark.slow
def test_two_processes_read_their_own_windows(cache: Path, tmp_path: Path) -> None:
    """DDP from the cache: the losses of one process with the doubled batch."""
    options = [
        *policy_options(latent_cache=cache, optimizer_lr=1e-2, scheduler_warmup_steps=0),
        "--dataset.repo_id=local/toy",
        f"--dataset.root={cache / 'dataset'}",
        "--dataset.episodes=[0]",
        "--num_workers=0",
        "--env_eval_freq=0",
        "--wandb.enable=false",
        "--save_checkpoint=false",
        "--steps=4",
    ]
    alone = train_here(*options, "--batch_size=4", f"--output_dir={tmp_path / 'one'}")
    launch = ["launch", "--multi_gpu", "--num_processes=2", "--num_machines=1", "--mixed_precision=no"]
    launch += ["--dynamo_backend=no", f"--main_process_port={free_port()}"]
    program = [TESTS / "commands.py", tmp_path / "losses"]
    two = ["--batch_size=2", f"--output_dir={tmp_path / 'two'}"]
    run(BIN / "accelerate", *launch, *program, *options, *two, **LOOPBACK)
    ranks = [json.loads((tmp_path / f"losses.{rank}").read_text()) for rank in (0, 1)]
    together = [sum(pair) / 2 for pair in zip(*ranks, strict=True)]
    assert len(alone) == 4
    assert together == pytest.approx(alone, rel=1e-5)


def test_the_estimate_is_what_is_written(small_shards: tuple[Path, Path]) -> None:
    _, whole = small_shards
    known = Manifest.read(whole)
    for number in range(known.shards):
        size = known.shard_path(whole, number).stat().st_size
        assert 0 <= size - known.shard_bytes(number) < 2048  # the table of contents


def test_bfloat16_is_half_and_as_near_as_it_gets(tmp_path: Path) -> None:
    latents = torch.randn(16, 2, 3, 4, 6)
    for dtype in ("float32", "bfloat16"):
        stored = {"video": latents.to(shards.DTYPES[dtype])}
        path = tmp_path / f"{dtype}.safetensors"
        shards.write_shard(path, "me", [[stored]])
        shape = {"video": (1, 1, *latents.shape), "check": (1, 1)}
        read = shards.Shard(path, "me", shape).read(0, 0)["video"]
        assert torch.equal(read, latents.to(shards.DTYPES[dtype]))
    whole, half = ((tmp_path / f"{name}.safetensors").stat().st_size for name in ("float32", "bfloat16"))
    assert abs(whole - 2 * half) < 512


def test_images_inside_of_the_parquet_files(tmp_path: Path) -> None:
    """A dataset recorded without videos: its copy has the same rows without the pictures."""
    root = tmp_path / "data"
    vector = {"dtype": "float32", "shape": (3,), "names": ["a.pos", "b.pos", "c.pos"]}
    picture = {"dtype": "image", "shape": (32, 48, 3), "names": ["height", "width", "channels"]}
    features = {"observation.images.front": picture, "observation.state": vector, "action": vector}
    made = LeRobotDataset.create("local/toy", 10, features, root=root, use_videos=False)
    generator = np.random.default_rng(0)
    for _ in range(20):
        numbers = generator.normal(size=(2, 3)).astype(np.float32)
        frame = generator.integers(0, 256, (32, 48, 3), dtype=np.uint8)
        made.add_frame(
            {
                "observation.images.front": frame,
                "observation.state": numbers[0],
                "action": numbers[1],
                "task": "lift",
            }
        )
    made.save_episode()
    made.finalize()
    out = tmp_path / "cache"
    command = ["cache-latents", "--config", str(training_config(tmp_path)), "--dataset", str(root)]
    assert main([*command, "--out", str(out), "--variants=1"]) == 0
    full, bare = (next((place / "data").rglob("*.parquet")) for place in (root, out / "dataset"))
    assert bare.stat().st_size < full.stat().st_size / 4
    losses = []
    for place in (root, out / "dataset"):
        policy, preprocess, dataset = make(place, latent_cache=str(out))
        np.random.seed(1)
        losses.append(float(policy.forward(batch_of(dataset, preprocess, [0, 19]))[0]))
    assert losses[0] == losses[1]


def test_latents_do_not_depend_on_the_callers_autocast() -> None:
    """LeRobot trains under autocast; the cache is made, and robots run, without."""
    codec = Codecs("tiny", None, torch.float32, 64).video(torch.device("cpu"))
    frames = torch.rand(1, 1, 5, 3, 32, 48) * 2 - 1
    latents = codec.encode(frames)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(codec.encode(frames), latents)
        decoded = codec.decode(latents)
    assert torch.equal(codec.decode(latents), decoded)

"""What goes wrong with 39 GB: bad files, full disks, kills, little memory. Nothing half-done looks done."""

from __future__ import annotations

import errno
import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import forked
import pytest
import torch
from safetensors.torch import load_file, save_file
from toy_weights import (
    RELEASE,
    STATES,
    convert,
    released,
    wan_weights,
    write_diffusers_wan,
    write_original_wan,
    write_release,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import synthetic_release

from lerobot_xwam.model.sizes import TransformerSizes
from lerobot_xwam.weights import output_folder, streaming
from lerobot_xwam.weights.official_layout import PLACE


def refused(capsys: pytest.CaptureFixture, *arguments: Any) -> str:
    """The error of a command that must fail, and must leave nothing behind. The last argument is --out's."""
    capsys.readouterr()
    assert convert(*arguments) == 1
    out = Path(arguments[-1])
    assert not out.exists() and not list(out.parent.glob(f".{out.name}*"))
    return capsys.readouterr().err


def refused_release(capsys: pytest.CaptureFixture, tmp_path: Path, module: dict[str, Any]) -> str:
    source = write_release(tmp_path / "bad", module)
    return refused(capsys, "convert-official", source, "--out", tmp_path / "out")


# --- Bad files ---


class Payload:
    """Unpickled, it runs a command."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("where", ["module", "beside"])
def test_a_payload_is_refused_and_not_run(where: str, tmp_path: Path, capsys) -> None:
    mark = tmp_path / "ran"
    payload = {"payload": Payload(mark)}
    torch.save(payload, tmp_path / "proof.pt")
    torch.load(tmp_path / "proof.pt", weights_only=False)
    assert mark.exists(), "the payload works"
    mark.unlink()

    module = released() | (payload if where == "module" else {})
    source = write_release(tmp_path / "bad", module, **(payload if where == "beside" else {}))
    error = refused(capsys, "convert-official", source, "--out", tmp_path / "out")
    assert "would run code: it asks for posix.system" in error and "Nothing of it was run" in error
    assert not mark.exists()


def test_a_bare_pickle_is_refused_and_not_run(tmp_path: Path, capsys) -> None:
    source = write_release(tmp_path / "bad", released())
    (source / PLACE).write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    error = refused(capsys, "convert-official", source, "--out", tmp_path / "out")
    assert "no torch checkpoint" in error
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_release(share: float, tmp_path: Path, capsys) -> None:
    source = write_release(tmp_path / "bad", released())
    whole = STATES.read_bytes()
    (source / PLACE).write_bytes(whole[: int(share * len(whole))])
    error = refused(capsys, "convert-official", source, "--out", tmp_path / "out")
    assert "no torch checkpoint, or it was cut off" in error


def test_a_repacked_archive(tmp_path: Path, capsys) -> None:
    """Compressed data cannot be read at offsets, and offsets in a table may lie."""
    source = write_release(tmp_path / "bad", released())
    path = source / PLACE
    for compression, message in ((zipfile.ZIP_DEFLATED, "is compressed"), (zipfile.ZIP_STORED, "repacked")):
        with zipfile.ZipFile(STATES) as old, zipfile.ZipFile(path, "w", compression) as new:
            for record in old.infolist():
                new.writestr(record.filename, old.read(record))
        assert message in refused(capsys, "convert-official", source, "--out", tmp_path / "out")


def test_other_files_than_checkpoints(tmp_path: Path, capsys) -> None:
    path = tmp_path / "other.pt"
    torch.save({"state_dict": released()}, path)
    options = ["--config", RELEASE / "config.yaml", "--out", tmp_path / "out"]
    assert "no dict of tensors under 'module'" in refused(capsys, "convert-official", path, *options)
    (tmp_path / "empty").mkdir()
    error = refused(capsys, "convert-official", tmp_path / "empty", *options)
    assert "looked for mp_rank_00_model_states.pt, none in it" in error
    for number in (1, 2):
        (tmp_path / f"two/{number}").mkdir(parents=True)
        shutil.copy(STATES, tmp_path / f"two/{number}")
    assert "2 in it" in refused(capsys, "convert-official", tmp_path / "two", *options)
    assert "no such file or folder" in refused(capsys, "convert-official", tmp_path / "nowhere", *options)


def test_unexplained_tensors_are_named(tmp_path: Path, capsys) -> None:
    strangers = ["ema.patch_embedding.weight", "model.blocks.0.self_attn.gate.weight"]
    strangers += ["model.blocks.0.norm3.scale", "model.blocks.0.self_attn.norm_q.bias"]
    for name in (*strangers, "vae.model.encoder.extra.weight", "text_encoder.model.lm_head.weight"):
        error = refused_release(capsys, tmp_path / name, released() | {name: torch.zeros(3)})
        assert name in error and "no known reason to be left out" in error


def test_missing_and_misshapen_weights_are_named(tmp_path: Path, capsys) -> None:
    name = "model.blocks.2.cross_attn.norm_q.weight"
    module = released()
    del module[name]
    assert f"1 missing: {name}." in refused_release(capsys, tmp_path / "missing", module)
    module[name] = torch.zeros(7)
    error = refused_release(capsys, tmp_path / "wrong", module)
    assert f"{name} [7] instead of [48]" in error
    lonely = released() | {"model.blocks.6.norm3.bias": torch.zeros(48)}
    assert "model.blocks.6.modulation" in refused_release(capsys, tmp_path / "lonely", lonely)
    empty = {name: torch.zeros(0) for name in released()}
    assert "partitioned" in refused_release(capsys, tmp_path / "empty", empty)


def test_strange_dtypes_are_named(tmp_path: Path, capsys) -> None:
    name = "model.blocks.1.ffn.0.weight"
    module = released() | {name: torch.zeros(112, 48, dtype=torch.int8)}
    assert f"{name} (int8)" in refused_release(capsys, tmp_path, module)


def test_numbers_too_large_for_half(tmp_path: Path, capsys) -> None:
    weights = wan_weights()
    weights["blocks.0.ffn.0.weight"][3, 4] = 1e6
    source = write_original_wan(tmp_path / "wan", weights)
    options = ["--dtype", "float16", "--depth-blocks", 2, "--out", tmp_path / "out"]
    assert "values up to 1e+06, more than torch.float16" in refused(capsys, "convert-wan", source, *options)


@pytest.mark.parametrize("layout", [write_original_wan, write_diffusers_wan])
def test_bad_copies_of_wan(layout: Any, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"

    def error() -> str:
        return refused(capsys, "convert-wan", tmp_path / "wan", "--out", out)

    source = layout(tmp_path / "wan", wan_weights())
    folder = source / "transformer" if (source / "transformer").is_dir() else source
    config = folder / "config.json"
    settings = json.loads(config.read_text())
    heads = "num_heads" if "num_heads" in settings else "num_attention_heads"

    for change, message in {
        "WanVACETransformer3DModel": "describes a 'WanVACETransformer3DModel'",
        "layers": "config.json says num_layers 7, the weights have 6",
        "eps": "eps 1e-05; this network computes with 1e-06",
        "heads": "does not say num_heads",
        "text": "cannot be read as JSON",
    }.items():
        spoiled = dict(settings)
        if change == "layers":
            spoiled["num_layers"] = 7
        elif change == "eps":
            spoiled["eps"] = 1e-5
        elif change == "heads":
            del spoiled[heads]
        elif change != "text":
            spoiled["_class_name"] = change
        config.write_text("{" if change == "text" else json.dumps(spoiled))
        assert message in error()
    config.write_text(json.dumps(settings))

    assert "--depth-blocks" in error() or "depth_blocks 10 must lie between 0 and blocks 6" in error()
    shard = sorted(folder.glob("*.safetensors"))[-1]
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    assert "lie behind its end" in error() and shard.name in error()
    shard.write_bytes(whole[:40])
    assert "it was cut off" in error()
    held = load_file_bytes(whole, tmp_path)
    name = next(iter(held))
    save_file(held | {name: held[name][:-1].contiguous()}, shard)
    assert f"{name} " in error()
    save_file(held | {"image_embedder.weight": torch.zeros(2)}, shard)
    assert "does not agree with its shards" in error()
    shard.unlink()
    assert "1 of" in error() and "shards are missing" in error()


def load_file_bytes(content: bytes, folder: Path) -> dict[str, torch.Tensor]:
    (folder / "whole.safetensors").write_bytes(content)
    return load_file(folder / "whole.safetensors")


def test_other_folders_than_wan(tmp_path: Path, capsys) -> None:
    out = ["--out", tmp_path / "out"]
    assert "hf download" in refused(capsys, "convert-wan", "Wan-AI/Wan2.2-TI2V-5B-Diffusers", *out)
    assert "config.json: not found" in refused(capsys, "convert-wan", tmp_path, *out)
    source = write_original_wan(tmp_path / "wan", wan_weights())
    official = {"view_embedding.weight": torch.zeros(3, 48)}
    source = write_original_wan(tmp_path / "trained", wan_weights() | official)
    error = refused(capsys, "convert-wan", source, *out)
    assert "view_embedding.weight" in error and "no weights of this model" in error


# --- Bad wishes ---


def test_options_that_cannot_be_met(tmp_path: Path, capsys) -> None:
    def error(*options: Any) -> str:
        return refused(capsys, "convert-official", RELEASE, *options, "--out", tmp_path / "out")

    assert "in alphabetical order, each once: a b" in error("--cameras", "b", "a")
    assert "4 names for 3 views" in error("--cameras", "a", "b", "c", "d")
    assert "max_views=9 must lie between 1 and 8" in error("--views", 9)
    assert "--frozen-from goes with --to-official" in error("--frozen-from", RELEASE)
    assert "no such file" in error("--config", tmp_path / "none.yaml")
    assert "--tokenizer" in error("--codecs-out", tmp_path / "codecs", "--tokenizer", tmp_path / "none")
    config = tmp_path / "config.yaml"
    text = (RELEASE / "config.yaml").read_text()
    config.write_text(text.replace("RoboTwin", "Kitchen"))
    wan = ["--wan-config", RELEASE / "wan_config.json"]
    assert "Name them with --cameras, up to 3" in error("--config", config, *wan)
    config.write_text(text.replace("q99:", "q98:"))  # the cameras are known, the statistics are not
    assert "has no section 'q99'" in error("--config", config, *wan)
    config.write_text("- a list")
    assert "a mapping of settings is wanted" in error("--config", config)
    config.write_text("a: [")
    assert "cannot be read as YAML" in error("--config", config)


def test_heads_cannot_be_guessed(tmp_path: Path, capsys) -> None:
    source = write_release(tmp_path / "release", released())
    (source / "wan_config.json").unlink()
    error = refused(capsys, "convert-official", source, "--out", tmp_path / "out")
    assert "Give the config.json of its Wan model with --wan-config" in error


def test_back_from_what_is_no_checkpoint_of_ours(tmp_path: Path, capsys) -> None:
    out = ["--to-official", "--out", tmp_path / "out"]
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "merge it into its base first" in refused(capsys, "convert-official", tmp_path, *out)
    assert convert("convert-official", RELEASE, "--out", tmp_path / "ours") == 0
    both = ["--frozen-from", RELEASE, "--codecs", tmp_path]
    assert "not both" in refused(capsys, "convert-official", tmp_path / "ours", *both, *out)
    assert "--views makes no sense" in refused(
        capsys, "convert-official", tmp_path / "ours", "--views", 2, *out
    )
    config = tmp_path / "ours/config.json"
    config.write_text(config.read_text().replace('"interleaved"', '"channel"'))
    assert "network of its own" in refused(capsys, "convert-official", tmp_path / "ours", *out)
    config.write_text('{"type": "act"}')
    assert "not an X-WAM policy" in refused(capsys, "convert-official", tmp_path / "ours", *out)


# --- Folders that appear when they are complete ---


def test_an_existing_folder_is_not_touched(tmp_path: Path, capsys) -> None:
    (tmp_path / "out").mkdir()
    assert convert("convert-official", RELEASE, "--out", tmp_path / "out") == 1
    assert "exists already; nothing is overwritten" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def test_a_killed_run_leaves_nothing_that_looks_finished(tmp_path: Path, monkeypatch, caplog) -> None:
    out, partial = tmp_path / "out", tmp_path / ".out.partial"
    right = streaming._checked

    def slow(tensor: Any) -> Any:
        for piece in right(tensor):
            yield piece
            time.sleep(0.05)

    with monkeypatch.context() as patch:
        patch.setattr(streaming, "_checked", slow)
        process = forked.start(
            lambda: convert("convert-official", RELEASE, "--out", out), tmp_path / "output"
        )
    try:
        until(lambda: (partial / "model.safetensors").exists())
        assert convert("convert-official", RELEASE, "--out", out) == 1, "the other run holds the place"
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    assert (partial / "model.safetensors").exists() and not (partial / "config.json").exists()
    assert not out.exists()
    assert convert("convert-official", RELEASE, "--out", out) == 0
    assert "was left by a run that was stopped" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "output"]
    assert len(load_file(out / "model.safetensors")) == 278


def until(happens: Callable[[], bool], seconds: float = 60) -> None:
    start = time.monotonic()
    while not happens():
        assert time.monotonic() - start < seconds
        time.sleep(0.01)


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(streaming.os, "fsync", interrupted)
    assert convert("convert-official", RELEASE, "--out", tmp_path / "out") == 130
    assert not list(tmp_path.iterdir())


# --- Disks ---


def test_too_small_a_disk_is_seen_before_writing(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(output_folder.shutil, "disk_usage", lambda _: SimpleNamespace(free=16 * 2**20 + 1000))
    monkeypatch.setattr(streaming, "write_safetensors", None)  # would be an error of another kind
    error = refused(capsys, "convert-official", RELEASE, "--out", tmp_path / "deep/er/out")
    assert "0.02 GB are needed" in error and "Nothing was written" in error
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_meanwhile(tmp_path: Path, monkeypatch, capsys) -> None:
    right = streaming._checked

    def full(tensor: Any) -> Any:
        if tensor.name == "net.blocks.3.ffn.0.weight":
            raise OSError(errno.ENOSPC, "No space left on device")
        return right(tensor)

    monkeypatch.setattr(streaming, "_checked", full)
    error = refused(capsys, "convert-official", RELEASE, "--out", tmp_path / "out")
    assert "the disk of" in error and "is full; nothing was left there" in error


def test_a_small_disk_for_real(tmp_path: Path, monkeypatch) -> None:
    """A file system of 300 kB, mounted for one process alone."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def twice() -> int:
        if not mount_small_disk(disk):
            return CANNOT_MOUNT
        command = ("convert-official", RELEASE, "--out", disk / "out")
        assert convert(*command) == 1
        monkeypatch.setattr(output_folder.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**40))
        assert convert(*command) == 1
        print("left:", list(disk.iterdir()))
        return 0

    ended = forked.run(twice, tmp_path / "output")
    if ended.code == CANNOT_MOUNT:
        pytest.skip("this machine lets us mount nothing")
    assert ended.code == 0, ended.output
    assert "GB are needed" in ended.output and "is full; nothing was left there" in ended.output
    assert "left: []" in ended.output


CANNOT_MOUNT = 77


def mount_small_disk(place: Path) -> bool:
    """In name spaces of this process's own, which end with it."""
    user, group = os.getuid(), os.getgid()
    try:
        os.unshare(os.CLONE_NEWNS if user == 0 else os.CLONE_NEWNS | os.CLONE_NEWUSER)
        if user:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {user} 1")
            Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    except (OSError, AttributeError):
        return False
    private = ["mount", "--make-rprivate", "/"]
    small = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)]
    return all(subprocess.run(command, capture_output=True).returncode == 0 for command in (private, small))


# --- Memory ---

MB = 2**20


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space as Linux does")
@pytest.mark.parametrize(
    ("blocks", "allowance"),
    [(3, 150 * MB), (18, 600 * MB)],
    ids=["350 MB in 150", "1.6 GB in 600"],
)
def test_memory_is_that_of_a_piece_not_of_the_file(blocks: int, allowance: int, tmp_path: Path) -> None:
    sizes = TransformerSizes(dim=1536, heads=12, ffn_dim=6144, blocks=blocks, depth_blocks=2, text_dim=64)
    config = RELEASE / "config.yaml"
    source = synthetic_release.write_release(tmp_path / "large", sizes, config.read_text())
    assert source.stat().st_size > 2 * allowance
    ours, back = tmp_path / "ours", tmp_path / "back"

    # A fresh process: in this one, memory that other tests have given back would serve without being counted.
    program = "import sys, test_conversion_failures as t\nt.convert_within(int(sys.argv[1]), *sys.argv[2:])"
    given = (source, config, tmp_path / "small", ours, back)
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, "-c", program, str(allowance), *map(str, given)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    there, again = (
        torch.load(path, weights_only=True, mmap=True)["module"] for path in (source, back / PLACE)
    )
    assert there.keys() == again.keys()
    assert all(torch.equal(tensor, again[name]) for name, tensor in there.items())


def convert_within(allowance: int, source: str, config: str, small: str, ours: str, back: str) -> None:
    """There and back in so much more memory than the imports take, in which the file does not fit."""
    assert convert("convert-official", RELEASE, "--out", small) == 0  # what is imported on the way
    limit = address_space() + allowance
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with pytest.raises((MemoryError, RuntimeError)):
        torch.load(source, weights_only=True)
    assert convert("convert-official", source, "--config", config, "--out", ours) == 0
    assert convert("convert-official", ours, "--to-official", "--out", back) == 0


def address_space() -> int:
    """Bytes of it that this process has now."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmSize"))

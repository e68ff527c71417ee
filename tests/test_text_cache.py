"""Prepared prompts: the same bits as the encoder's, the encoder never loaded, another's refused."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import forked
import pytest
import torch
from lerobot.utils.random_utils import set_seed
from toys import ONE_CAMERA, dataset_root, make_toy, metadata, packed_batch, small_config, wake_up

from lerobot_xwam.cli.main import main
from lerobot_xwam.codecs import encoder_identity, source, text
from lerobot_xwam.codecs.bundle import Codecs
from lerobot_xwam.codecs.encoder_identity import identify
from lerobot_xwam.codecs.text_cache import TextCache, add_prompts
from lerobot_xwam.modeling_xwam import XWAMPolicy

CPU = torch.device("cpu")
TINY = source.PACKAGED["tiny"]


def cache_text(*arguments: object) -> int:
    return main(["cache-text", *map(str, arguments)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    out = tmp_path / "prompts.safetensors"
    assert cache_text("--codecs", "tiny", "--prompts", "lift the cube", "--out", out) == 0
    return out


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Parts of the text encoder that were loaded, counted."""
    counted: list[str] = []

    def load_part(load: Any, source: str, revision: str | None, part: str, **settings: Any) -> Any:
        counted.append(part)
        return original(load, source, revision, part, **settings)

    original = text.load_part
    monkeypatch.setattr(text, "load_part", load_part)
    return counted


def codecs(
    cache: Path | None, where: str = "tiny", tokens: int = 64, dtype: torch.dtype = torch.float32
) -> Codecs:
    return Codecs(where, None, dtype, tokens, None if cache is None else str(cache))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_prepared_features_are_the_encoders_bits(
    tmp_path: Path, loads: list[str], dtype: torch.dtype
) -> None:
    prompts = ["lift the cube", "", 'say "hi"\n zwölf  袋', "x " * 300]
    out, name = tmp_path / "prompts.safetensors", str(dtype).removeprefix("torch.")
    assert cache_text("--codecs", "tiny", "--prompts", *prompts, "--dtype", name, "--out", out) == 0
    loads.clear()
    got = codecs(out, dtype=dtype).text(CPU).encode(prompts)
    assert loads == []
    wanted = codecs(None, dtype=dtype).text(CPU).encode(prompts)
    assert got.dtype == torch.float32 and torch.equal(got, wanted)
    assert TextCache(out).get_stored("").dtype == dtype  # no byte more than the encoder gave


def test_training_and_acting_give_the_same_bits_without_the_encoder(tmp_path: Path, loads: list[str]) -> None:
    """On a dataset's own instructions, with text dropout and guidance."""
    out = tmp_path / "prompts.safetensors"
    assert cache_text("--codecs", "tiny", "--dataset", dataset_root(ONE_CAMERA), "--out", out) == 0
    results, counts = [], []
    for cache in (None, str(out)):
        loads.clear()
        set_seed(0)
        toy = make_toy(ONE_CAMERA, text_cache=cache, text_dropout=0.5, guidance=2.0)
        policy, batch = wake_up(toy.policy), toy.batch(range(0, 40, 5))
        set_seed(1)
        loss, _ = policy.train()(batch)
        loss.backward()
        gradients = [p.grad for p in policy.parameters() if p.grad is not None]
        set_seed(2)
        actions = policy.eval().predict_action_chunk(batch)
        results.append([loss.detach(), actions, *gradients])
        counts.append(list(loads))
    assert counts == [["text_encoder", "tokenizer"], []]
    for plain, cached in zip(*results, strict=True):
        assert torch.equal(plain, cached)


def test_a_prompt_that_lacks_wakes_the_encoder_and_says_so(
    file: Path, loads: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    codec = codecs(file).text(CPU)
    codec.encode(["lift the cube", ""])
    assert loads == [] and not caplog.records
    got = codec.encode(["lift  the\ncube", "lift the duck", "lift the horse"])
    assert loads == ["text_encoder", "tokenizer"]
    assert [record.args[0] for record in caplog.records if "loading the text encoder" in record.msg] == [
        "lift the duck"
    ]
    assert torch.equal(
        got, codecs(None).text(CPU).encode(["lift the cube", "lift the duck", "lift the horse"])
    )


def test_without_an_encoder_known_prompts_work_and_others_name_the_remedy(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A robot with the VAE alone."""
    robot = tmp_path / "robot"
    shutil.copytree(TINY / "vae", robot / "vae")
    bare = codecs(file, str(robot))
    bare.check()
    assert bare.video(CPU).channels == 16
    with caplog.at_level("INFO"):
        assert torch.equal(
            bare.text(CPU).encode(["lift the cube"]), codecs(file).text(CPU).encode(["lift the cube"])
        )
    assert "trusting" in caplog.text
    with pytest.raises(
        FileNotFoundError, match=r"(?s)'lift the duck'.*cache-text.*--prompts 'lift the duck' --out"
    ):
        bare.text(CPU).encode(["lift the duck"])


def test_another_encoder_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tokens 64 instead of 32"):
        codecs(file, tokens=32).check()
    with pytest.raises(ValueError, match="dtype float32 instead of bfloat16"):
        codecs(file, dtype=torch.bfloat16).text(CPU)
    other = tmp_path / "other"
    shutil.copytree(TINY, other)
    codecs(file, str(other)).check()  # a copy elsewhere is the same encoder
    weights = other / "text_encoder" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    for use in (lambda c: c.check(), lambda c: c.text(CPU)):
        with pytest.raises(ValueError, match=r"another encoder \(fingerprint .*--codecs .*other"):
            use(codecs(file, str(other)))
    assert (
        cache_text("--codecs", other, "--tokens", 64, "--dtype", "float32", "--prompts", "x", "--out", file)
        == 1
    )
    assert "x" not in TextCache(file).prompts


def test_policy_refuses_another_encoders_cache(file: Path) -> None:
    policy = XWAMPolicy(small_config(text_cache=str(file), text_tokens=32))
    with pytest.raises(ValueError, match="tokens 64 instead of 32"):
        policy(packed_batch(policy.config))


def test_large_files_are_sampled_all_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_identity, "READ_WHOLE", 50_000)
    monkeypatch.setattr(encoder_identity, "SAMPLES", 5)
    monkeypatch.setattr(encoder_identity, "SAMPLE", 512)
    folder = tmp_path / "codecs"
    shutil.copytree(TINY, folder)
    seen = {encoder_identity.fingerprint(folder)}
    weights = folder / "text_encoder" / "model.safetensors"
    content = weights.read_bytes()
    for place in (100, len(content) // 2, len(content) - 1):  # header, middle, end
        weights.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        seen.add(encoder_identity.fingerprint(folder))
    weights.write_bytes(content[:-1])
    seen.add(encoder_identity.fingerprint(folder))
    weights.write_bytes(content)
    (folder / "tokenizer" / "added_tokens.json").write_text("{}")
    seen.add(encoder_identity.fingerprint(folder))
    assert len(seen) == 6


def test_a_second_run_adds_and_keeps(
    file: Path, loads: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = TextCache(file)
    held = {prompt: before.get(prompt) for prompt in before.prompts}
    assert sorted(held) == ["", "lift the cube"]
    assert cache_text("--codecs", "tiny", "--prompts", " lift the  cube", "--out", file) == 0
    assert loads == []  # nothing to do: the encoder stays where it is
    assert "0 prompts encoded, 2 were there" in capsys.readouterr().out
    assert cache_text("--codecs", "tiny", "--prompts", "push", "--out", file) == 0
    after = TextCache(file)
    assert sorted(after.prompts) == ["", "lift the cube", "push"]
    assert all(torch.equal(after.get(prompt), features) for prompt, features in held.items())
    assert sorted(path.name for path in file.parent.iterdir()) == [file.name]


def test_prompts_come_from_files_and_datasets(tmp_path: Path) -> None:
    listed, out = tmp_path / "prompts.txt", tmp_path / "prompts.safetensors"
    listed.write_text("open the door\n\n  close   it \n")
    root = dataset_root(ONE_CAMERA)
    assert cache_text("--codecs", "tiny", "--dataset", root, root, "--prompts", listed, "--out", out) == 0
    tasks = set(metadata(ONE_CAMERA).tasks.index)
    assert len(tasks) == 2
    assert set(TextCache(out).prompts) == {"", "open the door", "close it"} | tasks


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--codecs", "tiny"], "which prompts"),
        (["--codecs", "./nowhere", "--prompts", "x"], "no such folder"),
    ],
)
def test_bad_arguments_are_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert cache_text(*arguments, "--out", tmp_path / "x.safetensors") == 1
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_broken_file_is_called_broken(file: Path, tmp_path: Path) -> None:
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match="cut off"):
        codecs(file).check()
    other = tmp_path / "model.safetensors"
    shutil.copy(TINY / "text_encoder" / "model.safetensors", other)
    with pytest.raises(ValueError, match="no file of `lerobot-xwam cache-text`"):
        codecs(other).check()


def test_a_cache_that_is_gone_stops_training_but_not_acting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = codecs(tmp_path / "gone.safetensors")
    with pytest.raises(FileNotFoundError, match="Make it with `lerobot-xwam cache-text --codecs tiny"):
        gone.check()
    assert gone.text(CPU).encode(["x"]).shape == (1, 64, 64)
    assert "no text cache" in caplog.text


def test_a_killed_run_loses_nothing_that_was_done(tmp_path: Path) -> None:
    out, encoder = tmp_path / "prompts.safetensors", identify("tiny", None, torch.float32, 64)
    done: list[str] = []

    def encode_three(prompt: str) -> torch.Tensor:
        if len(done) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        done.append(prompt)
        return torch.full((64, 64), float(len(done)))

    def stopped() -> None:
        add_prompts(out, "abcdef", encode_three, encoder)

    ended = forked.run(stopped, tmp_path / "log")
    assert ended.code == -signal.SIGKILL
    assert not out.exists()
    asked: list[str] = []

    def encode(prompt: str) -> torch.Tensor:
        asked.append(prompt)
        return torch.zeros(64, 64)

    new, known = add_prompts(out, "abcdef", encode, encoder)
    assert asked == ["d", "e", "f"]
    assert (new, known) == (list("abcdef"), [])
    assert [float(TextCache(out).get(prompt)[0, 0]) for prompt in "abcdef"] == [1, 2, 3, 0, 0, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", out.name]

"""The frozen networks at the border: where they come from and what they give."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan
from huggingface_hub import constants

from lerobot_xwam.codecs import source
from lerobot_xwam.codecs.bundle import Codecs
from lerobot_xwam.codecs.text import CACHED_PROMPTS, TextCodec
from lerobot_xwam.codecs.video import VideoCodec

CPU = torch.device("cpu")
CODECS = "tiny"
WAN = "Wan-AI/Wan2.2-TI2V-5B-Diffusers"


@pytest.fixture(scope="module")
def codecs() -> Codecs:
    return Codecs(CODECS, None, torch.float32, text_tokens=64)


@pytest.fixture(scope="module")
def folder() -> Path:
    return Path(source.locate(CODECS)[0])


# --- video ---


def test_the_first_latent_depends_on_the_first_frame_alone(codecs: Codecs) -> None:
    """So that a condition costs one frame's encoding, in training and inference alike."""
    video = torch.rand(2, 3, 9, 3, 32, 48) * 2 - 1
    all_frames = codecs.video(CPU).encode(video)
    one_frame = codecs.video(CPU).encode(video[:, :, :1])
    assert all_frames.shape == (2, 16, 3, 3, 4, 6)  # B C T V h w
    assert one_frame.shape == (2, 16, 1, 3, 4, 6)
    torch.testing.assert_close(one_frame, all_frames[:, :, :1], atol=1e-4, rtol=1e-4)
    changed = video.clone()
    changed[:, :, 1:] = 0
    torch.testing.assert_close(
        codecs.video(CPU).encode(changed)[:, :, 0], one_frame[:, :, 0], atol=1e-4, rtol=1e-4
    )


def test_views_and_samples_are_encoded_for_themselves(codecs: Codecs) -> None:
    video = torch.rand(2, 3, 5, 3, 32, 48) * 2 - 1
    together = codecs.video(CPU).encode(video)
    alone = codecs.video(CPU).encode(video[1:, 2:])
    torch.testing.assert_close(together[1:, :, :, 2:], alone, atol=1e-4, rtol=1e-4)


def test_decoding_gives_frames_in_range(codecs: Codecs) -> None:
    latents = 3 * torch.randn(2, 16, 3, 2, 4, 6)
    frames = codecs.video(CPU).decode(latents)
    assert frames.shape == (2, 2, 9, 3, 32, 48)  # B V F 3 H W
    assert frames.abs().max() <= 1


def test_latents_are_normalised(folder: Path) -> None:
    """(mode - mean) / std with the VAE's own numbers, and back when decoding."""
    config = json.loads((folder / "vae" / "config.json").read_text())
    mean, std = torch.linspace(-1, 1, 16), torch.linspace(0.5, 2, 16)
    config |= {"latents_mean": mean.tolist(), "latents_std": std.tolist()}
    vae = AutoencoderKLWan.from_config(config)
    codec = VideoCodec(vae)
    video = torch.rand(1, 1, 5, 3, 32, 48) * 2 - 1
    raw = vae.encode(video[:, 0].transpose(1, 2)).latent_dist.mode()  # B C T h w
    view = (1, 16, 1, 1, 1)
    torch.testing.assert_close(codec.encode(video)[:, :, :, 0], (raw - mean.view(view)) / std.view(view))
    expected = vae.decode(raw).sample.clamp(-1, 1).transpose(1, 2)
    torch.testing.assert_close(codec.decode(codec.encode(video))[:, 0], expected, atol=1e-4, rtol=1e-4)


def test_codecs_do_not_train(codecs: Codecs) -> None:
    vae, encoder = codecs.video(CPU).vae, codecs.text(CPU).encoder
    for module in (vae, encoder):
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())
    latents = codecs.video(CPU).encode(torch.zeros(1, 1, 1, 3, 32, 48, requires_grad=True))
    assert not latents.requires_grad


def test_codecs_are_loaded_in_the_dtype_asked_for() -> None:
    half = Codecs(CODECS, None, torch.bfloat16, text_tokens=64)
    assert half.video(CPU).vae.dtype == half.text(CPU).encoder.dtype == torch.bfloat16
    latents = half.video(CPU).encode(torch.rand(1, 1, 5, 3, 32, 48))
    assert latents.dtype == torch.float32
    assert half.text(CPU).encode(["a"]).dtype == torch.float32


# --- text ---


def test_each_prompt_is_encoded_once(folder: Path) -> None:
    codec = TextCodec.load(str(folder), None, CPU, torch.float32, 64)
    calls: list[int] = []
    codec.encoder.register_forward_hook(lambda *_: calls.append(1))
    first = codec.encode(["lift the red cube", "", "lift the red cube"])
    again = codec.encode(["", " lift  the\nred cube "])  # spaces do not count
    assert len(calls) == 2
    assert torch.equal(first[[1, 0]], again)
    assert torch.equal(first[0], first[2])
    assert not torch.allclose(first[0], first[1])


def test_the_prompt_cache_is_bounded(folder: Path) -> None:
    codec = TextCodec.load(str(folder), None, CPU, torch.float32, 4)
    codec._encode = lambda prompt: torch.full((4, 8), float(len(prompt)))
    many = ["x" * n for n in range(CACHED_PROMPTS + 10)]
    features = codec.encode(many)
    assert features[:, 0, 0].tolist() == [float(len(prompt)) for prompt in many]
    assert len(codec._cache) == CACHED_PROMPTS
    assert many[-1] in codec._cache
    assert many[0] not in codec._cache


def test_padding_positions_are_kept(codecs: Codecs) -> None:
    """The network attends to all of them; zeros there give other, wrong results."""
    text = codecs.text(CPU)
    features = text.encode(["lift the cube"])
    assert features.shape == (1, 64, 64)  # B tokens text_dim
    tokens = text.tokenizer(["lift the cube"]).input_ids[0]
    assert 0 < len(tokens) < 32
    padding = features[0, len(tokens) :]
    assert padding.abs().amin(dim=0).max() > 0
    assert (padding.norm(dim=-1) > 1e-3).all()
    # They are the encoder's own output for masked positions, not something else.
    inputs = text.tokenizer(["lift the cube"], padding="max_length", max_length=64, return_tensors="pt")
    expected = text.encoder(inputs.input_ids, attention_mask=inputs.attention_mask).last_hidden_state
    torch.testing.assert_close(features, expected)


def test_long_prompts_are_cut(codecs: Codecs) -> None:
    assert codecs.text(CPU).encode(["lift the cube " * 100]).shape == (1, 64, 64)


# --- where they come from ---


def test_a_local_folder_is_read(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "codecs"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(".*"))
    local = Codecs(str(copy), None, torch.float32, 64)
    local.check()
    video = torch.rand(1, 1, 1, 3, 32, 48)
    packaged = Codecs(CODECS, None, torch.float32, 64)
    assert torch.equal(local.video(CPU).encode(video), packaged.video(CPU).encode(video))
    assert torch.equal(local.text(CPU).encode(["x"]), packaged.text(CPU).encode(["x"]))


@pytest.mark.parametrize("name", ["/no/such/folder", "./codecs", "wan", "a/b/c"])
def test_a_missing_folder_is_named(name: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such folder.*vae, text_encoder, tokenizer.*'tiny'"):
        Codecs(name, None, torch.float32, 64).check()


def test_an_incomplete_folder_says_what_lacks(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "vae", tmp_path / "vae")
    with pytest.raises(FileNotFoundError, match=r"text_encoder, tokenizer not found in it\. The layout is"):
        Codecs(str(tmp_path), None, torch.float32, 64).check()


def test_an_empty_part_says_which(folder: Path, tmp_path: Path) -> None:
    for part in source.PARTS:
        (tmp_path / part).mkdir()
    broken = Codecs(str(tmp_path), None, torch.float32, 64)
    for load, part in ((broken.video, "vae"), (broken.text, "text_encoder")):
        with pytest.raises(OSError, match=rf"codecs: {part} of folder .*--policy\.codecs=FOLDER"):
            load(CPU)


def test_offline_a_hub_id_must_have_been_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    wan = Codecs(WAN, None, torch.float32, 512)
    for use in (wan.check, lambda: wan.video(CPU), lambda: wan.text(CPU)):
        with pytest.raises(FileNotFoundError, match=rf"'{WAN}': not in the .*cache.*HF_HUB_OFFLINE.*FOLDER"):
            use()


def test_offline_the_cache_is_enough(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A cache as `hf download` leaves it: loaded without a request, at the pinned revision."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = Path(constants.HF_HUB_CACHE) / "models--somebody--codecs"
    shutil.copytree(folder, repo / "snapshots" / commit, ignore=shutil.ignore_patterns(".*"))
    (repo / "refs").mkdir()
    (repo / "refs" / "v1").write_text(commit)
    try:
        cached = Codecs("somebody/codecs", "v1", torch.float32, 64)
        cached.check()
        with caplog.at_level(logging.INFO, logger="lerobot_xwam"):
            assert cached.video(CPU).channels == 16
        assert "loading vae of somebody/codecs" in caplog.text
        assert cached.text(CPU).encode(["x"]).shape == (1, 64, 64)
        with pytest.raises(FileNotFoundError, match="not in the Hugging Face cache"):
            Codecs("somebody/codecs", "v2", torch.float32, 64).check()
    finally:
        shutil.rmtree(repo)

"""Compiling for acting: no graph break, one compilation for each kind of call and batch, never a must."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._inductor.runtime.cache_dir_utils import default_cache_dir
from toy_model import close, some_latents, some_text, toy_network
from toys import packed_batch, small_config, wake_up

from lerobot_xwam.acting import compiled, denoisers
from lerobot_xwam.acting.compiled import Compiled, keep_compilations
from lerobot_xwam.acting.cuda_graph import Recorded
from lerobot_xwam.model.noise import clock_times, given_first
from lerobot_xwam.model.sampler import denoiser
from lerobot_xwam.model.types import Asked
from lerobot_xwam.modeling_xwam import XWAMPolicy


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(compiled.CACHE_VARIABLE, raising=False)
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Counted:
    """A backend that compiles nothing and counts the graphs that it was given."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, module: torch.fx.GraphModule, _: Any) -> Any:
        self.graphs += 1
        return module.forward


@torch.no_grad()
def test_blocks_of_equal_shapes_share_a_compilation_and_nothing_compiles_twice(capsys) -> None:
    net, x, backend, ready = toy_network(), some_latents(), Counted(), Compiled()
    net.join_projections()
    text, table = net.read_text(some_text()), net.tabulate_times([0.0, 500.0, 900.0])
    denoise, given = denoiser(net, text, table), given_first(x)
    kinds = [Asked(video="imagined"), Asked(True, "imagined"), Asked(video="none")]

    def shown(video: float, action: float) -> Any:
        return clock_times(torch.full((2,), video), torch.full((2,), action), given)

    wanted = [denoise(x, shown(900, 500), kind) for kind in kinds]
    how: Any = {"backend": backend, "fullgraph": True}  # a graph break is an error
    assert ready.warm_up(net, denoise, x, lambda: shown(0, 0), kinds, **how)
    printed = capsys.readouterr().err
    assert "compiling for batch 2" in printed and "3/3" in printed
    # Trunk blocks; the last block with fewer rows, twice; depth blocks, that beside
    # the last block for itself (its keys lie differently in memory). Not one for every block.
    assert backend.graphs == 5
    for kind, plain in zip(kinds, wanted, strict=True):
        said = denoise(x, shown(900, 500), kind)
        torch.testing.assert_close(said.velocity.actions, plain.velocity.actions, rtol=1e-5, atol=1e-5)
        assert kind.video == "none" or close(said.velocity, plain.velocity)
    assert ready.warm_up(net, denoise, x, lambda: shown(0, 0), kinds, backend=backend)
    assert backend.graphs == 5, "another time, another kind of call seen before: no further compilation"
    assert capsys.readouterr().err == ""

    more = some_latents(batch=3)
    three = denoiser(net, net.read_text(some_text(3)), table)
    given3 = given_first(more)
    zeros = torch.zeros(3)
    assert ready.warm_up(
        net, three, more, lambda: clock_times(zeros, zeros, given3), kinds[:1], backend=backend
    )
    assert "batch 3" in capsys.readouterr().err and backend.graphs == 7

    ready.undo(net)  # plain calls again, to measure one beside the other
    assert denoise(x, shown(900, 500), kinds[0]).velocity.video.equal(wanted[0].velocity.video)
    assert backend.graphs == 7 and all(block._compiled_call_impl is None for block in net.blocks)


@pytest.mark.parametrize("every", [0, 1], ids=["kept", "recomputed"])
def test_the_rest_of_an_epoch_is_not_compiled_for(every: int) -> None:
    """A training that stands still for minutes in the last step of its first epoch looks broken."""
    plain, net, backend = toy_network(), toy_network(), Counted()
    net.load_state_dict(plain.state_dict())
    net.checkpoint_every = every
    net.compile_blocks(backend=backend, fullgraph=True)
    graphs = []
    for batch in (3, 2, 3, 1):
        x, text, zeros = some_latents(batch=batch), some_text(batch), torch.zeros(batch)
        times = clock_times(zeros, zeros, given_first(x))
        said, wanted = (each(x, times, each.embed_text(text), depth=True) for each in (net, plain))
        for prediction in (said, wanted):
            prediction.velocity.actions.square().sum().backward()
        torch.testing.assert_close(said.velocity.actions, wanted.velocity.actions, rtol=1e-5, atol=1e-5)
        graphs.append(backend.graphs)
    assert graphs[0] > 0 and graphs == graphs[:1] * 4
    for ours, theirs in zip(net.parameters(), plain.parameters(), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("learns", [False, True], ids=["acting", "training"])
def test_halves_compile_without_a_graph_break(learns: bool) -> None:
    """What we ask about autocast and gradients is answered while compiling, not by leaving the graph."""
    net, x, backend = toy_network(), some_latents(), Counted()
    for block in (*net.blocks, *net.depth_blocks):
        block.compile(backend=backend, fullgraph=True, dynamic=False)
    zeros = torch.zeros(2)
    times = clock_times(zeros, zeros, given_first(x))
    with torch.set_grad_enabled(learns), torch.autocast("cpu", torch.bfloat16):
        said = net(x, times, net.embed_text(some_text()), depth=True)
    assert said.velocity.actions.isfinite().all() and said.velocity.actions.requires_grad == learns
    assert 0 < backend.graphs <= 3


def policy_and_batch(**settings: Any) -> tuple[XWAMPolicy, dict[str, Any]]:
    config = small_config(inference_seed=3, **settings)
    torch.manual_seed(0)
    return wake_up(XWAMPolicy(config)).eval(), packed_batch(config)


def test_what_does_not_compile_acts_all_the_same_and_says_so_once(monkeypatch, caplog) -> None:
    plain, batch = policy_and_batch()
    wanted = plain.predict_action_chunk(batch)

    def broken(*_: Any) -> Any:
        raise OSError("no compiler at all")

    right = denoisers.Compiled.warm_up
    monkeypatch.setattr(denoisers.Compiled, "warm_up", partialmethod(right, backend=broken))
    policy, _ = policy_and_batch(compile_inference=True)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            torch.testing.assert_close(policy.predict_action_chunk(batch), wanted, rtol=1e-5, atol=1e-5)
    said = [record.getMessage() for record in caplog.records if "compile" in record.getMessage()]
    assert len(said) == 1 and "apt install g++" in said[0] and "no compiler at all" in said[0]
    assert policy.net.blocks[0]._compiled_call_impl is None


WITHOUT_COMPILER = """
import sys
sys.path[:0] = [{tests!r}]
import logging
import torch
from test_compiled import policy_and_batch
logging.basicConfig(level=logging.WARNING, format="%(message)s")
policy, batch = policy_and_batch(compile_inference=True)
assert policy.predict_action_chunk(batch).isfinite().all()
"""


@pytest.mark.slow
def test_a_machine_without_a_compiler_is_told_which_one_it_needs(tmp_path: Path) -> None:
    """In a process of its own: torch remembers that it found no compiler."""
    script = WITHOUT_COMPILER.format(tests=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "CXX": "/nowhere/g++", "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("X-WAM: cannot compile here") == 1 and "apt install g++" in done.stderr


def test_compiled_code_is_kept_where_a_reboot_leaves_it(tmp_path: Path, monkeypatch) -> None:
    assert keep_compilations() == tmp_path / "lerobot_policy_xwam" / "compiled"
    assert os.environ[compiled.CACHE_VARIABLE] == str(keep_compilations())
    monkeypatch.setenv(compiled.CACHE_VARIABLE, default_cache_dir())  # as torch does by itself
    assert keep_compilations() == tmp_path / "lerobot_policy_xwam" / "compiled"
    monkeypatch.setenv(compiled.CACHE_VARIABLE, "/my/choice")
    assert keep_compilations() == Path("/my/choice")


def test_a_policy_compiles_what_it_will_call(monkeypatch) -> None:
    kinds: list[list[Asked]] = []

    def noted(self: Any, net: Any, denoise: Any, x: Any, times: Any, wanted: list[Asked], **_: Any) -> bool:
        kinds.append(wanted)
        return True

    monkeypatch.setattr(denoisers.Compiled, "warm_up", noted)
    imagining = {"save_predicted_video": True, "depth_of": ("front",)}
    frozen = {"turbo_frozen_video": True, "video_steps": 20}
    for settings in ({}, imagining, frozen, {**imagining, **frozen}, {"compile_inference": False}):
        policy, batch = policy_and_batch(**{"compile_inference": True, **settings})
        policy.predict_action_chunk(batch)
    assert kinds == [
        [Asked(video="imagined"), Asked(video="none")],
        [Asked(video="imagined"), Asked(True, "imagined")],
        [Asked(video="imagined"), Asked(video="none")],
        [Asked(video="imagined"), Asked(video="none"), Asked(video="imagined"), Asked(True, "imagined")],
    ]


@pytest.mark.slow
def test_compiled_actions_are_the_same() -> None:
    plain, batch = policy_and_batch()
    policy, _ = policy_and_batch(compile_inference=True)
    wanted = plain.predict_action_chunk(batch)
    torch.testing.assert_close(policy.predict_action_chunk(batch), wanted, rtol=1e-4, atol=1e-5)
    assert any(keep_compilations().rglob("*"))


@pytest.mark.gpu
@torch.no_grad()
def test_a_recorded_call_says_what_the_call_says() -> None:
    net, x = toy_network().cuda(), some_latents().map(torch.Tensor.cuda)
    plain = denoiser(net, net.read_text(some_text().cuda()), net.tabulate_times([0.0, 500.0, 999.0]))
    recorded, given = Recorded(plain, ()), given_first(x)
    for clock in (999.0, 500.0):
        times = clock_times(torch.full((2,), clock).cuda(), torch.full((2,), clock).cuda(), given)
        for asked in (Asked(video="imagined"), Asked(True, "imagined"), Asked(video="none")):
            said, wanted = recorded(x, times, asked), plain(x, times, asked)
            torch.testing.assert_close(said.velocity.actions, wanted.velocity.actions)

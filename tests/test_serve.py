"""Acting over the network: LeRobot's robot client and the mock robot, on this machine's loopback."""

from __future__ import annotations

import logging
import os
import pickle
import re
import subprocess
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import BIN
from toys import ONE_CAMERA, make_toy, wake_up

pytest.importorskip("grpc", reason="pip install 'lerobot_policy_xwam[async]'")

from lerobot_xwam import XWAMConfig
from lerobot_xwam.cli import serve
from lerobot_xwam.serving.messages import read_message

FPS = 10
CHUNK = 16


@pytest.fixture(scope="module", autouse=True)
def lerobots_logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """LeRobot's asynchronous half makes a folder `logs` where it is imported, and takes the root logger."""
    root, here = logging.getLogger(), os.getcwd()
    handlers, level = root.handlers[:], root.level
    os.chdir(tmp_path_factory.mktemp("logs"))
    import lerobot.async_inference.policy_server
    import lerobot.async_inference.robot_client  # noqa: F401

    os.chdir(here)
    yield
    root.handlers, root.level = handlers, level


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy whose robot has the mock robot's joints, and one camera of 48x64."""
    folder = tmp_path_factory.mktemp("served") / "policy"
    toy = make_toy(ONE_CAMERA, inference_seed=3)
    wake_up(toy.policy).save_pretrained(folder)
    toy.pre.save_pretrained(folder)
    toy.post.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def served(checkpoint: Path) -> Any:
    from lerobot_xwam.serving.policy import Served

    config = XWAMConfig.from_pretrained(checkpoint)
    assert isinstance(config, XWAMConfig)
    return Served.load(str(checkpoint), config)


@pytest.fixture
def address(served: Any) -> Iterator[str]:
    from lerobot_xwam.serving.listening import listen

    with listen(served, "127.0.0.1", 0, FPS) as (_, address):
        yield address


def client_of(address: str, policy: Any, **robot: Any) -> Any:
    from lerobot.async_inference.configs import RobotClientConfig
    from lerobot.async_inference.robot_client import RobotClient

    from lerobot_xwam.robots import XWAMMockConfig

    settings = {"cameras": "front", "height": 48, "width": 64, "id": "served", **robot}
    return RobotClient(
        RobotClientConfig(
            policy_type="xwam",
            pretrained_name_or_path=str(policy),
            robot=XWAMMockConfig(**settings),
            actions_per_chunk=CHUNK,
            task="lift the red cube",
            server_address=address,
            fps=FPS,
            aggregate_fn_name="latest_only",
        )
    )


def test_lerobots_client_moves_the_robot(address: str, checkpoint: Path) -> None:
    """Its own two loops, with depth on the robot, which is not needed. More than one chunk arrives."""
    client = client_of(address, checkpoint, depth=True)
    sent: list[dict[str, float]] = []
    send = client.robot.send_action
    client.robot.send_action = lambda action: (sent.append(action), send(action))[1]
    assert client.start()
    receiver = threading.Thread(target=client.receive_actions, daemon=True)
    control = threading.Thread(target=client.control_loop, args=("lift the red cube",), daemon=True)
    receiver.start()
    control.start()
    end = time.monotonic() + 60
    while len(sent) < CHUNK + 8 and time.monotonic() < end:
        time.sleep(0.1)
    client.shutdown_event.set()
    control.join(10)
    client.stop()
    receiver.join(10)
    assert len(sent) >= CHUNK + 8
    names = list(sent[0])
    assert names == ["base_angle.pos", "reach.pos", "height.pos", "wrist_angle.pos", "gripper.pos"]
    moves = np.array([list(action.values()) for action in sent])
    assert np.isfinite(moves).all() and np.ptp(moves, axis=0).max() > 0


def observation(timestep: int, joints: float = 0.3) -> Any:
    from lerobot.async_inference.helpers import TimedObservation

    names = ("base_angle", "reach", "height", "wrist_angle", "gripper")
    seen = {f"{name}.pos": joints for name in names}
    picture = np.full((48, 64, 3), 90 + timestep, np.uint8)
    return TimedObservation(
        timestamp=0.0, timestep=timestep, observation={**seen, "front": picture, "task": "lift"}
    )


def server_of(served: Any, **more: Any) -> Any:
    from lerobot.async_inference.configs import PolicyServerConfig
    from lerobot.async_inference.helpers import RemotePolicyConfig
    from lerobot.utils.feature_utils import hw_to_dataset_features

    from lerobot_xwam.robots import XWAMMockConfig
    from lerobot_xwam.robots.mock import XWAMMock
    from lerobot_xwam.serving.server import XWAMPolicyServer

    robot = XWAMMock(XWAMMockConfig(id="served", cameras="front", height=48, width=64))
    features = hw_to_dataset_features(robot.observation_features, "observation", use_video=False)
    server = XWAMPolicyServer(PolicyServerConfig(fps=FPS), served, **more)
    server.policy.reset()
    server._agree(RemotePolicyConfig("xwam", served.source, features, CHUNK))
    return server


def chunk(server: Any, timestep: int) -> np.ndarray:
    """-> K A, in the robot's units"""
    actions = server._predict_action_chunk(observation(timestep))
    assert [action.get_timestep() for action in actions] == list(range(timestep, timestep + CHUNK))
    return torch.stack([action.get_action() for action in actions]).numpy()


def test_a_chunk_goes_on_from_the_last_one(served: Any) -> None:
    """In model space: the guard behind it follows the path of each chunk."""

    def sent(server: Any, timestep: int) -> torch.Tensor:
        chunk(server, timestep)
        return server._sent.actions

    server = server_of(served)
    first = sent(server, 0)
    server._slowest = 0.25  # seconds for a chunk: 3 actions, the one before the observation, one for the way
    second = sent(server, 7)
    assert torch.equal(second[:5], first[7:12])
    assert not torch.equal(second[5:9], first[12:16])
    alone = server_of(served, chunks_go_on=False)
    sent(alone, 0)
    alone._slowest = 0.25
    assert (sent(alone, 7)[:5] - first[7:12]).abs().max() > 1e-3


def test_there_is_no_last_chunk_after_a_pause_or_for_a_new_client(served: Any) -> None:
    server = server_of(served)
    chunk(server, 0)
    assert server._last_plan(CHUNK) == {} and server._last_plan(3)
    server.Ready(None, Namespace(peer=lambda: "somebody"))
    assert server._last_plan(3) == {}


def test_small_motions_are_no_reason_to_leave_an_observation_out(served: Any) -> None:
    """Below a distance of 1 LeRobot's server takes nothing new: an arm that counts in radians starves."""
    from lerobot.async_inference.policy_server import PolicyServer

    server = server_of(served)
    chunk(server, 0)
    server._predicted_timesteps.add(0)
    near = observation(5, joints=0.35)
    assert not PolicyServer._obs_sanity_checks(server, near, observation(0))
    assert server._obs_sanity_checks(near, observation(0))
    assert not server._obs_sanity_checks(observation(0), observation(0))


@pytest.mark.parametrize(
    ("policy", "robot", "words"),
    [
        ("somebody/else", {}, "asks for xwam 'somebody/else'; this server has one policy"),
        (None, {"cameras": "left"}, "no observation.images.front"),
        (None, {"task": "lift_two_arms"}, "state has 10 numbers, this policy was trained with 5"),
    ],
)
def test_another_policy_or_robot_is_refused(
    address: str, checkpoint: Path, policy: str | None, robot: Any, words: str, caplog: Any
) -> None:
    client = client_of(address, policy or checkpoint, **robot)
    try:
        assert not client.start()
    finally:
        client.stop()
    assert words in caplog.text


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("echo this must not run > ran",)


def test_messages_run_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lerobot.async_inference.helpers import RemotePolicyConfig

    monkeypatch.chdir(tmp_path)
    for evil in (Evil(), [Evil()], {"task": Evil()}):
        with pytest.raises(ValueError, match=r"names (posix|nt)\.system"):
            read_message(pickle.dumps(evil))
    assert not list(tmp_path.iterdir())
    for broken in (b"", b"nonsense", pickle.dumps(observation(1))[:-20]):
        with pytest.raises(ValueError, match="message refused"):
            read_message(broken)
    for protocol in range(3, pickle.HIGHEST_PROTOCOL + 1):
        seen = observation(4)
        seen.observation["height.pos"] = np.float32(0.25)
        read = read_message(pickle.dumps(seen, protocol))
        assert read.get_timestep() == 4 and read.observation["height.pos"] == 0.25
        assert np.array_equal(read.observation["front"], seen.observation["front"])
        asked = RemotePolicyConfig("xwam", "me/xwam", {"observation.state": {"shape": (5,)}}, 16)
        assert read_message(pickle.dumps(asked, protocol)) == asked


def test_an_evil_message_over_the_wire_does_nothing(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import grpc
    from lerobot.transport import services_pb2, services_pb2_grpc

    monkeypatch.chdir(tmp_path)
    with grpc.insecure_channel(address) as channel:
        stub = services_pb2_grpc.AsyncInferenceStub(channel)
        stub.Ready(services_pb2.Empty())
        with pytest.raises(grpc.RpcError, match="message refused"):
            stub.SendPolicyInstructions(services_pb2.PolicySetup(data=pickle.dumps(Evil())))
    assert not list(tmp_path.iterdir())


def options(**more: Any) -> Namespace:
    settings = {"host": "127.0.0.1", "port": 8080, "fps": 15, "expose_to_network": False}
    return Namespace(**{**settings, **more})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3"])
def test_this_machine_needs_no_flag(host: str) -> None:
    serve._check(options(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "my-machine", "127.0.0.1.example.org", ""])
def test_others_do(host: str) -> None:
    with pytest.raises(ValueError, match=r"SSH tunnel.*--expose-to-network"):
        serve._check(options(host=host))
    exposed = options(host=host, expose_to_network=True, policy="p")
    serve._check(exposed)
    assert "without password" in serve._greeting(exposed, f"{host}:8080", 32).partition("serving")[0]


def test_nobody_is_warned_of_this_machine() -> None:
    assert serve._greeting(options(policy="p"), "127.0.0.1:8080", 32).startswith(
        "serving p on 127.0.0.1:8080"
    )


def test_a_port_that_is_taken_is_not_shared(served: Any, address: str) -> None:
    from lerobot_xwam.serving.listening import listen

    port = int(address.rpartition(":")[2])
    with pytest.raises(ValueError, match="cannot be listened on"), listen(served, "127.0.0.1", port, FPS):
        pass


@pytest.mark.slow
def test_the_commands(checkpoint: Path, tmp_path: Path) -> None:
    """lerobot-xwam serve and LeRobot's client, each in its own process."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(
        [
            *(BIN / "lerobot-xwam", "serve", "--policy", checkpoint, "--port", "0", "--fps", str(FPS)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    client = None
    try:
        assert server.stdout is not None
        said = ""
        while "client:" not in said:
            line = server.stdout.readline()
            assert line, said
            said += line
        port = re.search(r"127\.0\.0\.1:(\d+)", said).group(1)
        client = subprocess.Popen(
            [
                *(sys.executable, "-m", "lerobot.async_inference.robot_client", "--robot.type=xwam_mock"),
                *("--robot.id=served", "--robot.cameras=front", "--robot.height=48", "--robot.width=64"),
                *(f"--server_address=127.0.0.1:{port}", "--policy_type=xwam", f"--fps={FPS}"),
                *(f"--pretrained_name_or_path={checkpoint}", f"--actions_per_chunk={CHUNK}"),
                *("--aggregate_fn_name=latest_only", "--task=lift the red cube"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=tmp_path,
            env=environment,
        )
        while said.count("generated") < 2:
            line = server.stdout.readline()
            assert line, said
            said += line
    finally:
        for process in (client, server):
            if process is not None:
                process.terminate()
                process.wait(20)

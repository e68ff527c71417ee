r"""Serve a policy to LeRobot's asynchronous robot client: the robot asks, the policy answers.

The client is LeRobot's own. On the machine with the robot:

  python -m lerobot.async_inference.robot_client --server_address=127.0.0.1:8080 --policy_type=xwam \
      --pretrained_name_or_path=POLICY --actions_per_chunk=32 --aggregate_fn_name=latest_only --fps=15 \
      --robot.type=... --task="..."

Security, plainly. The protocol has no password and no encryption. Whoever reaches the port can drive the
policy, read its actions and fill this machine's memory; and the client runs whatever code a server sends it,
for the answers are pickles. So the server listens on 127.0.0.1 only. Is the robot elsewhere? Then use an SSH
tunnel, `ssh -N -L 8080:127.0.0.1:8080 THIS_MACHINE` on the robot's machine, and talk to 127.0.0.1:8080 there.
LeRobot's own policy server runs any code that a message brings. This one reads messages with a short list of
harmless classes, and clients cannot choose what is loaded. It serves one robot at a time.

Example:
  lerobot-xwam serve --policy outputs/train/checkpoints/last/pretrained_model --fps 15
"""

from __future__ import annotations

import argparse
import ipaddress

HELP = "serve a policy to LeRobot's asynchronous robot client (127.0.0.1 only, unless told otherwise)"

EXPOSED = """\
WARNING: listening on {address}, for everybody who can reach it, without password and without encryption.
They can drive the policy that moves your robot, read its actions and fill this machine's memory. Messages are
pickles: who answers in this server's place runs code on the robot's machine. An SSH tunnel is safer.\
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--policy", required=True, help="checkpoint folder or Hub id")
    parser.add_argument("--device", help="default: the policy's")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a policy setting (repeatable)"
    )
    parser.add_argument("--fps", type=int, default=15, help="actions per second of the client (default 15)")
    parser.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1: this machine only")
    parser.add_argument("--port", type=int, default=8080, help="default 8080; 0 takes a free one")
    parser.add_argument(
        "--expose-to-network", action="store_true", help="needed for a --host that others can reach"
    )
    parser.add_argument(
        "--no-rtc", action="store_true", help="every chunk anew, instead of going on from the last one"
    )


def run(arguments: argparse.Namespace) -> None:
    _check(arguments)
    try:
        from lerobot_xwam.serving.listening import listen
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("grpc", "google"):
            raise
        raise ValueError(
            f"{error.name} is missing, which serving needs: pip install 'lerobot_policy_xwam[async]'"
        ) from error
    from lerobot_xwam.cli.policy_settings import read_policy
    from lerobot_xwam.serving.policy import Served
    from lerobot_xwam.world.opening import refuse_missing

    refuse_missing(arguments.policy, "--policy")
    config = read_policy(policy=arguments.policy, settings=arguments.set)
    print(f"loading {arguments.policy} ...", flush=True)
    served = Served.load(arguments.policy, config, arguments.device)
    with listen(served, arguments.host, arguments.port, arguments.fps, chunks_go_on=not arguments.no_rtc) as (
        server,
        address,
    ):
        print(_greeting(arguments, address, served.policy.config.chunk_size), flush=True)
        server.wait_for_termination()


def _greeting(arguments: argparse.Namespace, address: str, chunk: int) -> str:
    """What is served, who can reach it, and the client's command."""
    text = (
        f"serving {arguments.policy} on {address}, without password or encryption; Ctrl-C ends it\n"
        f"client: python -m lerobot.async_inference.robot_client --server_address={address} "
        f"--policy_type=xwam --pretrained_name_or_path={arguments.policy} "
        f"--actions_per_chunk={chunk} --aggregate_fn_name=latest_only "
        f"--fps={arguments.fps} --robot.type=... --task=..."
    )
    return text if is_loopback(arguments.host) else f"{EXPOSED.format(address=address)}\n{text}"


def _check(arguments: argparse.Namespace) -> None:
    if not is_loopback(arguments.host) and not arguments.expose_to_network:
        raise ValueError(
            f"--host {arguments.host}: others could reach that. There is no password and no encryption: who "
            "reaches the port drives your robot's policy. Use an SSH tunnel (lerobot-xwam serve --help says "
            "how), or add --expose-to-network if you mean it"
        )
    if not 0 <= arguments.port <= 65535 or arguments.fps < 1:
        raise ValueError(
            f"--port {arguments.port} --fps {arguments.fps}: wanted a port from 0 to 65535 and at least 1 "
            "action per second"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address. A name other than localhost may mean anything."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

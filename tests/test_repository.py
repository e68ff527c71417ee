"""House rules for the tracked files: no registry hosts, no paths of one machine, nothing large."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
MEGABYTE = 2**20

# Joined here, so that this file does not hold what it forbids.
REGISTRY_HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("anaconda", "org"),
        ("registry", "npmjs"),
        ("deb", "debian", "org"),
        ("download", "pytorch", "org"),
    )
]


def project_files() -> list[Path]:
    """Everything git tracks or would add; without git (an unpacked archive) all but caches and outputs."""
    if (ROOT / ".git").exists():
        command = [
            "git",
            "-c",
            "safe.directory=*",
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        paths = [ROOT / name for name in listed.split("\0") if name]
    else:
        ignored = {"outputs", "__pycache__", "build", "dist", "wandb"}
        hidden = {".venv", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis"}
        paths = [p for p in ROOT.rglob("*") if not (ignored | hidden) & set(p.relative_to(ROOT).parts)]
    return [path for path in paths if path.is_file()]


def texts() -> dict[str, str]:
    found = {}
    for path in project_files():
        content = path.read_bytes()
        if b"\0" not in content:
            found[path.relative_to(ROOT).as_posix()] = content.decode("utf-8", errors="replace")
    return found


def test_no_file_names_a_package_registry() -> None:
    guilty = {name: host for name, text in texts().items() for host in REGISTRY_HOSTS if host in text}
    assert not guilty


def test_no_file_holds_a_path_of_one_machine() -> None:
    """This checkout's own place, this user's home, and anybody's home."""
    places = [str(p) + "/" for p in (ROOT, Path.home()) if len(p.parts) > 1]
    somebodys_home = re.compile(r"(?<![\w.~}])/(?:home|Users|root)/[\w.-]+")
    guilty = {}
    for name, text in texts().items():
        found = [place for place in places if place in text] or somebodys_home.findall(text)
        if found:
            guilty[name] = found
    assert not guilty


def test_no_file_is_large() -> None:
    large = {p.relative_to(ROOT).as_posix(): p.stat().st_size for p in project_files()}
    assert not {name: size for name, size in large.items() if size > 20 * MEGABYTE}

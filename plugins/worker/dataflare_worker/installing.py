"""Installs distributions into an environment: with uv where it is there, else with pip."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dataflare.errors import ConfigError
from dataflare_worker.lent import Lent

_SECONDS = 1800


def install(
    environment: Path, requirements: Sequence[str], lent: Lent, plugin: str, files: Path, wanted: str | None
) -> tuple[Lent, str]:
    """Install what is not lent, and say what is in the end, and who installed it.

    If the requirements contradict a version that is lent, only what no index has is lent, and the rest is installed.
    ``files`` is where equal files of several environments are kept, ``wanted`` the installer, where it matters.
    Raises ConfigError ``worker.environment``.
    """
    said = ""
    for offer in (lent, lent.ours()):
        with tempfile.TemporaryDirectory(prefix="dataflare-install-") as folder:
            wheels = Path(folder, "wheels")
            wheels.mkdir()
            offer.wheels(wheels)
            pins = Path(folder, "pins.txt")
            pins.write_text("".join(f"{pin}\n" for pin in offer.pins()), "utf-8")
            installer, words = _command(environment, wanted)
            words += ["--constraint", str(pins), *requirements]
            try:
                done = subprocess.run(
                    words,
                    capture_output=True,
                    text=True,
                    timeout=_SECONDS,
                    stdin=subprocess.DEVNULL,
                    cwd=folder,
                    env=with_links(wheels),
                )
            except subprocess.TimeoutExpired:
                said = f"{installer} took longer than {_SECONDS} s"
                break
        if done.returncode == 0:
            if installer == "pip":
                share(environment, files)
            return offer, installer
        said = done.stderr.strip() or done.stdout.strip()
    raise ConfigError.of(
        "worker.environment",
        f"the environment of the plugin `{plugin}` cannot be made: {', '.join(requirements)}",
        cause=said[-4000:],
        fix="mend the plugin's dependencies, or the settings of pip or uv (index, find-links, network)",
    )


def with_links(folder: Path) -> dict[str, str]:
    """The variables of this process, and one more place where the installers look for wheels."""
    links = {"UV_FIND_LINKS": ",", "PIP_FIND_LINKS": " "}
    more = {name: between.join(filter(None, (os.environ.get(name), str(folder)))) for name, between in links.items()}
    return {**os.environ, **more}


def _command(environment: Path, wanted: str | None) -> tuple[str, list[str]]:
    """The installer and the beginning of its command."""
    python = str(environment / "bin" / "python")
    uv = None if wanted == "pip" else find_uv()
    if uv is None and wanted == "uv":
        message = "uv is wanted for making environments, and is not there"
        raise ConfigError.of("worker.environment", message, fix="install `uv`, or leave `installer` out")
    if uv is not None:
        return "uv", [uv, "pip", "install", "--quiet", "--python", python]
    words = ["install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-warn-script-location"]
    if importlib.util.find_spec("pip") is not None:
        return "pip", [sys.executable, "-m", "pip", "--python", python, *words]
    subprocess.run([python, "-m", "ensurepip"], check=True, capture_output=True, timeout=_SECONDS)
    return "pip", [python, "-m", "pip", *words]


def find_uv() -> str | None:
    """The program uv, from the package of that name or the path."""
    if importlib.util.find_spec("uv") is not None:
        import uv

        try:
            found: str = uv.find_uv_bin()
            return found
        except FileNotFoundError:
            pass
    return shutil.which("uv")


def share(environment: Path, files: Path) -> None:
    """Keep one copy of what several environments have: pip, unlike uv, writes every file anew."""
    import hashlib

    files.mkdir(parents=True, exist_ok=True)
    for file in environment.rglob("*"):
        if file.is_symlink() or not file.is_file() or file.suffix == ".pyc":
            continue
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        kept = files / f"{digest}-{file.stat().st_mode & 0o777:o}"
        try:
            if not kept.exists():
                os.link(file, kept)
                continue
            aside = file.with_name(f".{digest}")
            os.link(kept, aside)
            os.replace(aside, file)
        except OSError:
            continue  # another file system, or too many links: a copy of its own then

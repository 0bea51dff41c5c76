"""Setting up says in one line what is missing. Each fault is caused, in a copy of the tools."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What setting up needs of a checkout, without a venv; its place has a space in it."""
    copy = tmp_path / "a checkout"
    for folder in ("tools", "requirements"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(ROOT / file, copy / file)
    return copy


def run(checkout: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``sh tools/python …``, with this Python first."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(checkout), "PYTHON": sys.executable, **environment}
    command = (shutil.which("sh") or "sh", "tools/python", *command)
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)


def test_a_machine_without_a_python_is_told_which_one_it_needs(checkout: Path) -> None:
    done = run(checkout, "tools/setup.py", "run", PATH=str(checkout), PYTHON="")
    assert done.returncode == 1
    assert done.stderr.startswith("Rejoin needs Python 3.11 or newer")
    assert done.stderr.count("\n") == 1


def test_a_python_that_is_too_old_or_does_not_start_is_passed_over(checkout: Path) -> None:
    for name, body in (
        ("python3.14", "exit 127"),
        ("python3.13", f'exec "{sys.executable}" "$@"'),
        ("python3", "exit 1"),
    ):
        path = checkout / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
    done = run(checkout, "-c", "print('ran')", PATH=str(checkout), PYTHON="")
    assert (done.returncode, done.stdout) == (0, "ran\n")


def test_a_python_that_cannot_make_a_venv_names_the_debian_package(checkout: Path) -> None:
    (checkout / "sitecustomize.py").write_text("import sys\nsys.modules['ensurepip'] = None\n")
    done = run(checkout, "tools/setup.py", "run", PYTHONPATH=str(checkout))
    assert done.returncode == 1
    assert "apt install python3-venv" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (checkout / ".venv").exists()


def test_an_unreachable_index_ends_with_the_last_words_of_pip(checkout: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    index = {"PIP_INDEX_URL": f"http://127.0.0.1:{port}/", "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "1"}
    done = run(checkout, "tools/setup.py", "run", **index)
    assert done.returncode == 1
    assert "pip could not install requirements/run.txt" in done.stderr
    assert "Is the network up?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (checkout / ".venv" / "installed-run").exists()


def test_a_lock_is_installed_once_and_again_when_it_changed_or_the_venv_moved(checkout: Path) -> None:
    lock = checkout / "requirements" / "run.txt"
    lock.write_text("")
    assert "Installing" in run(checkout, "tools/setup.py", "run").stdout
    assert run(checkout, "tools/setup.py", "run").stdout == ""
    lock.write_text("# another one\n")
    again = run(checkout, "tools/setup.py", "run").stdout
    assert "Installing" in again
    assert "Making" not in again
    moved = checkout.rename(checkout.with_name("moved"))
    assert "Making" in run(moved, "tools/setup.py", "run").stdout


def set_up_without_npm(checkout: Path, lock: str) -> subprocess.CompletedProcess[str]:
    """With a real npm and a registry that does not answer. What comes from pip is left out."""
    (checkout / "requirements" / f"{lock}.txt").write_text("")
    run(checkout, "tools/setup.py", "run")
    (checkout / ".venv" / "installed-test").write_text((checkout / ".venv" / "installed-run").read_text())
    for program in ("npm", "node"):
        (checkout / ".venv" / "bin" / program).symlink_to(Path(sys.executable).with_name(program))
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    return run(checkout, "tools/setup.py", lock, npm_config_registry=f"http://127.0.0.1:{port}/")


def test_without_the_pages_packages_it_runs_and_says_so_in_a_line(checkout: Path) -> None:
    done = set_up_without_npm(checkout, "run")
    assert done.returncode == 0
    assert done.stderr.startswith("Rejoin: npm could not install the page's packages (")
    assert "ECONNREFUSED" in done.stderr
    assert "plain text" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (checkout / "node_modules" / "installed").exists(), "the next start tries again"


def test_the_tests_want_the_pages_packages(checkout: Path) -> None:
    (checkout / "requirements" / "run.txt").write_text("")
    done = set_up_without_npm(checkout, "test")
    assert done.returncode == 1
    assert done.stderr.startswith("Rejoin: npm could not install the page's packages (")
    assert done.stderr.count("\n") == 1


def test_a_taken_port_is_named_with_another_one_to_take(checkout: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        done = run(checkout, "tools/check_port.py", "127.0.0.1", str(port))
    assert done.returncode == 1
    assert done.stderr == f"Rejoin: port {port} is taken; free it or choose another one: make run PORT={port + 1}\n"
    assert run(checkout, "tools/check_port.py", "127.0.0.1", str(port)).returncode == 0


@pytest.mark.parametrize("port", ["99999", "eighty"])
def test_a_port_that_is_none_is_refused_in_one_line(checkout: Path, port: str) -> None:
    done = run(checkout, "tools/check_port.py", "127.0.0.1", port)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Rejoin: can't serve on 127.0.0.1:{port}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["run", "test"])
def test_a_lock_holds_versions_and_hashes_and_no_address(name: str) -> None:
    for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines():
        assert re.fullmatch(r"[a-z0-9-]+==\S+( ; .+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?|    # .*", line), line
        assert "://" not in line


def test_the_test_lock_holds_the_run_lock() -> None:
    run_lock, test_lock = (ROOT / "requirements" / name for name in ("run.txt", "test.txt"))
    pins = [set(re.findall(r"^(\S+==\S+)", lock.read_text(), re.MULTILINE)) for lock in (run_lock, test_lock)]
    assert pins[0] < pins[1]

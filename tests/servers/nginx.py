"""nginx in front of a web server, configured by what docs/operations.md tells people to write."""

from __future__ import annotations

import os
import re
import shutil
import urllib.request
from pathlib import Path

from tests.servers.process import ROOT, Process, free_port

AROUND = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
{block}
}}
"""
"""What a distribution's own nginx.conf is to a file in its conf.d; everything else is nginx's default."""


def find_nginx() -> str | None:
    """The program: on PATH, or where distributions put it."""
    return shutil.which("nginx", path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"]))


def documented() -> str:
    """The one block of nginx's configuration in the docs."""
    [block] = re.findall(r"```nginx\n(.*?)```", (ROOT / "docs" / "operations.md").read_text("utf-8"), re.DOTALL)
    return block  # type: ignore[no-any-return]


class Nginx(Process):
    """``url`` leads through it to the web server at ``target``, a loopback port. ``without``: a line of the docs that
    somebody has left out."""

    def __init__(self, program: str, target: int, *, directory: Path, without: str = "") -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        block = documented()
        changes = {"listen 80;": f"listen 127.0.0.1:{port};", "127.0.0.1:8000;": f"127.0.0.1:{target};"}
        for there, here in [*changes.items(), *([(without, "")] if without else [])]:
            assert block.count(there) == 1, there
            block = block.replace(there, here)
        configuration = directory / "nginx.conf"
        configuration.write_text(AROUND.format(directory=directory, block=block))
        super().__init__("nginx", [program, "-e", "stderr", "-p", directory, "-c", configuration], directory=directory)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=10) as response:
                return bool(response.status == 200)
        except OSError:
            return False

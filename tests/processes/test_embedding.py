"""docs/embedding.md, done as written: a project of somebody's own, with the chat below a prefix of its addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx2
import pytest

from chat.client import Client
from tests.client import until
from tests.conftest import show_on_failure
from tests.servers.embedded import PASSWORD, USER, Project, blocks

pytestmark = pytest.mark.processes
HOME = "/help/"
OWN = {
    "templates/base.html": "The frame of the project's own pages.",
    "templates_of_chat/chat/help.html": '<dialog id="help">Help of the project\'s own.</dialog>',
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("project"), {})
    for name, content in OWN.items():
        (project.folder / name).parent.mkdir(parents=True)
        (project.folder / name).write_text(content)
    project.set_up()
    with project:
        yield project


@pytest.fixture
def project(request: pytest.FixtureRequest, served: Project) -> Project:
    show_on_failure(request, served)
    return served


@pytest.fixture
def browser(project: Project) -> Iterator[httpx2.Client]:
    """The cookies of somebody who has signed in on the page for it."""
    with httpx2.Client(base_url=project.url, trust_env=False) as http:
        page = http.get(f"{HOME}login/")
        [token] = re.findall(r'name="csrfmiddlewaretoken" value="(.*?)"', page.text)
        form = {"username": USER, "password": PASSWORD, "csrfmiddlewaretoken": token}
        answer = http.post(f"{HOME}login/", data=form)
        assert (answer.status_code, answer.headers["Location"]) == (302, HOME)
        yield http


async def test_a_user_signs_in_sends_a_message_and_reads_the_answer(project: Project, browser: httpx2.Client) -> None:
    url = project.url + HOME
    async with Client(url, session=browser.cookies["sessionid"]) as client:
        assert client.welcome is not None
        assert client.welcome["user"]["name"] == USER
        thread = await client.create()
        transcript = await client.follow(thread)
        asked = await client.send(thread, "Where do rivers begin?")
        await transcript.ended(asked.run)
        assert transcript.text(asked.run) == "Where do rivers begin? "
    page = browser.get(f"{HOME}c/{thread}/")
    assert "Where do rivers begin?" in page.text
    await until(lambda: project.has_said(f"completed: an answer for {USER}"), "the project's own hook")


async def test_a_program_finds_everything_below_the_prefix(project: Project) -> None:
    token = project.manage("api_token", "create", USER, "--name", "a program").strip()
    async with Client(project.url + HOME, token=token) as client:
        thread = await client.create(title="Rivers")
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(base_url=project.url, headers=headers, trust_env=False) as http:
        assert (await http.get(f"{HOME}api/threads/{thread}")).json()["thread"]["title"] == "Rivers"
        for name in (f"threads/{thread}", "inbox"):
            assert (await http.get(f"{HOME}api/{name}/updates")).json()["events"]
            async with http.stream("GET", f"{HOME}api/{name}/events") as stream:
                assert stream.headers["Content-Type"] == "text/event-stream"
        document = (await http.get(f"{HOME}api/openapi.json")).json()
        assert {path.startswith(f"{HOME}api/") for path in document["paths"]} == {True}
        for address, code in ((f"{HOME}api/nothing", "not_found"), (f"{HOME}api/me", "bad_request")):
            refused = await http.get(address, headers={"Host": "evil.example"} if code == "bad_request" else {})
            assert refused.json()["code"] == code
        assert (await http.get("/api/me")).status_code == 404
        assert "json" not in (await http.get("/api/me")).headers["Content-Type"], "this is the project's own"


def test_the_page_has_its_files_and_leaves_the_projects_own_pages_alone(
    project: Project, browser: httpx2.Client
) -> None:
    page = browser.get(HOME)
    assert page.status_code == 200
    assert "Content-Security-Policy" in page.headers
    assert 'class="composer"' in page.text
    assert OWN["templates/base.html"] not in page.text
    assert OWN["templates_of_chat/chat/help.html"] in page.text
    files = re.findall(r'(?:src|href)="(/static/chat/[^"]+\.(?:css|js|mjs|svg))"', page.text)
    assert len(files) > 40
    for file in files:
        assert browser.get(file).status_code == 200, file
    own = browser.get("/admin/")
    assert own.status_code == 200
    assert "Content-Security-Policy" not in own.headers


def test_nothing_is_wrong_with_the_project(project: Project) -> None:
    project.manage("check", "--fail-level", "WARNING")
    project.manage("makemigrations", "--check", "--dry-run")


def test_of_two_pages_for_signing_in_the_projects_own_is_linked_to(project: Project) -> None:
    [snippet] = [code for _, code in blocks("python") if code.startswith("urlpatterns +=")]
    urls = (project.folder / "mysite" / "urls.py").read_text()
    (project.folder / "mysite" / "other_urls.py").write_text(f"{urls}\n{snippet}")
    names = "('mysite.urls', 'mysite.other_urls')"
    code = f"from django.urls import reverse; print(*(reverse('login', name) for name in {names}))"
    assert project.manage("shell", "--verbosity", "0", "-c", code).split() == [f"{HOME}login/", "/accounts/login/"]

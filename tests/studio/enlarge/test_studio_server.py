"""The studio's manners: its own forms only, bounded bodies, strict headers, names that stay text, and a gate."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from samples import PNG

from karaffe.cli.main import run
from karaffe.studio.enlarge.app import make_app
from karaffe.studio.enlarge.forms import clean_name
from karaffe.studio.enlarge.job import State
from karaffe.studio.web.guard import HEADERS

HOSTS = ["testserver"]
EVIL = "<img src=x onerror=alert(1)>.png"


class Visitor(TestClient):
    """A browser that has opened the page."""

    def __init__(self, desk: Any, token: str | None = None) -> None:
        super().__init__(make_app(desk, token, hosts=HOSTS), follow_redirects=False)
        self.desk = desk

    @property
    def csrf(self) -> str:
        found = re.search(r'(?:data-csrf|name="csrf" value)="([0-9a-f]{64})"', self.get("/").text)
        assert found
        return found[1]

    def submit(
        self, content: Any = PNG, name: str = "p.png", query: str = "scale=2&models=nearest", **headers: str
    ) -> Any:
        sent = {"x-csrf-token": self.csrf, "x-name": quote(name), **headers}
        return self.post(f"/api/jobs?{query}", content=content, headers=sent)


@pytest.fixture
def visitor(idle_desk) -> Visitor:
    return Visitor(idle_desk(upload_bytes=200_000, jobs=3))


def test_a_picture_is_taken_followed_cancelled_and_removed(visitor: Visitor) -> None:
    sent = visitor.submit(name="naïve 相.png").json()
    assert (sent["name"], sent["state"]) == ("naïve 相.png", "waiting")
    (job,) = visitor.desk._jobs.values()
    assert job.task.source.read_bytes() == PNG
    address, form = f"/api/jobs/{sent['id']}", {"x-csrf-token": visitor.csrf}
    assert visitor.get("/api/jobs").json() == [visitor.get(address).json()]
    assert visitor.post(f"{address}/cancel", headers=form).json()["state"] == "cancelled"
    assert visitor.delete(address, headers=form).status_code == 204
    assert visitor.get("/api/jobs").json() == []
    assert not job.task.folder.exists()


def test_a_file_is_saved_under_a_safe_name_and_never_run(visitor: Visitor) -> None:
    sent = visitor.submit(name='../../"ev\nil<b>.png')
    (job,) = visitor.desk._jobs.values()
    from karaffe.studio.enlarge.events import Opened, Shown, Written

    for event in (Opened((1, 1), (2, 2), False, ".png"), Shown(0, 0.1), Written(0, 3)):
        job.tell(event)
    job.file(0)[0].write_bytes(b"<b>")
    reply = visitor.get(f"/api/jobs/{sent.json()['id']}/files/0")
    assert reply.content == b"<b>"
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["content-disposition"].startswith("attachment;")
    assert not re.search(r'["\n<>/]', re.sub(r'filename="(.*)"$', r"\1", reply.headers["content-disposition"]))
    assert [p.name for p in job.task.folder.iterdir()] == ["source", "result-0.png"]


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\pictures\\a.png", "a.png"),
        ("", "picture"),
        ("..", "picture"),
        ("a\x00b\r\n.png", "a_b__.png"),
        ("\u202egnp.exe", "_gnp.exe"),
        ("x" * 300 + ".png", "x" * 196 + ".png"),
    ],
)
def test_names_are_cleaned(name: str, clean: str) -> None:
    assert clean_name(quote(name)) == clean


def test_each_wrong_request_is_one_clear_refusal(visitor: Visitor) -> None:
    for query, status, words in (
        ("scale=2&models=sharpp", 400, "unknown model 'sharpp'; did you mean 'sharp'"),
        ("scale=2&models=sharp&models=sharp", 400, "different ones"),
        ("scale=2&models=sharp&suffix=.exe", 400, "unknown suffix '.exe'"),
        ("scale=17&models=sharp", 422, "less than or equal to 16"),
        ("scale=nan&models=sharp", 422, "finite"),
        ("scale=2", 422, "models"),
    ):
        reply = visitor.submit(query=query)
        assert (reply.status_code, words in reply.text) == (status, True), reply.text
    assert visitor.submit(b"").json()["detail"] == "p.png is empty (0 bytes)"
    assert visitor.submit(b"x" * 300_000).status_code == 413
    chunks = (b"x" * 10_000 for _ in range(21))
    reply = visitor.submit(chunks)
    assert (reply.status_code, "more than 0.2 MB" in reply.text) == (413, True)
    assert visitor.desk._jobs == {}
    assert list(visitor.desk.folder.iterdir()) == []
    for _ in range(3):
        assert visitor.submit().status_code == 201
    assert visitor.submit().status_code == 429


def test_a_full_disk_is_said_and_leaves_nothing(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    add = visitor.desk.add

    def full(*arguments: Any, **options: Any) -> Any:
        job = add(*arguments, **options)
        job.task.source.symlink_to("/dev/full")
        return job

    monkeypatch.setattr(visitor.desk, "add", full)
    reply = visitor.submit(b"x" * 100_000)
    assert reply.status_code == 507
    assert reply.json()["detail"] == "cannot keep p.png: No space left on device"
    assert list(visitor.desk.folder.iterdir()) == []


def test_changes_come_from_this_page_alone(visitor: Visitor) -> None:
    sent = visitor.submit().json()
    address = f"/api/jobs/{sent['id']}"
    for headers in ({}, {"x-csrf-token": "0" * 64}):
        refused = 422 if not headers else 403
        assert visitor.post(f"{address}/cancel", headers=headers).status_code == refused
        assert visitor.delete(address, headers=headers).status_code == refused
    assert visitor.submit(**{"x-csrf-token": "0" * 64}).status_code == 403
    for headers in ({"origin": "http://elsewhere.example"}, {"sec-fetch-site": "cross-site"}):
        assert visitor.submit(**headers).status_code == 403
    assert visitor.get("/", headers={"host": "elsewhere.example"}).status_code == 421
    assert len(visitor.get("/api/jobs").json()) == 1


def test_visits_do_not_see_each_other(visitor: Visitor) -> None:
    sent = visitor.submit().json()
    visitor.cookies.clear()
    form = {"x-csrf-token": visitor.csrf}
    assert visitor.get("/api/jobs").json() == []
    for reply in (
        visitor.get(f"/api/jobs/{sent['id']}"),
        visitor.get(f"/api/jobs/{sent['id']}/views/source"),
        visitor.get(f"/api/jobs/{sent['id']}/files/0"),
        visitor.delete(f"/api/jobs/{sent['id']}", headers=form),
    ):
        assert (reply.status_code, "there is no such picture" in reply.text) == (404, True)


@pytest.mark.parametrize("name", ["..%2f..%2fsource", "source/../../x", "%2e%2e/source", "9", "source-low", "-1"])
def test_no_path_leads_out(visitor: Visitor, name: str) -> None:
    sent = visitor.submit(b"secret").json()
    for path in (f"/api/jobs/{sent['id']}/views/{name}", f"/api/jobs/{sent['id']}/files/{name}", f"/assets/{name}"):
        reply = visitor.get(path)
        assert reply.status_code in (404, 422)
        assert "secret" not in reply.text


@pytest.mark.parametrize("path", ["/", "/api/jobs", "/assets/studio.js", "/nothing"])
def test_every_answer_carries_strict_headers(visitor: Visitor, path: str) -> None:
    reply = visitor.get(path)
    for name, value in HEADERS.items():
        assert reply.headers[name] == value
    assert "innerHTML" not in reply.text


def test_an_open_studio_asks_for_its_token(idle_desk) -> None:
    visitor = Visitor(idle_desk(), "the-token")
    assert "Token that the server printed" in visitor.get("/?token=the-token").text
    for path in ("/api/jobs", "/api/events", "/api/jobs/x/views/source", "/api/jobs/x/files/0"):
        assert visitor.get(path).status_code == 401
    assert visitor.submit().status_code == 401
    wrong = {"csrf": visitor.csrf, "token": "guess"}
    assert visitor.post("/login", data=wrong).status_code == 401
    assert visitor.post("/login", data={"csrf": "0" * 64, "token": "the-token"}).status_code == 403
    assert visitor.post("/login", data={"csrf": visitor.csrf, "token": "the-token"}).status_code == 303
    assert visitor.submit().status_code == 201
    assert visitor.post("/logout", data={"csrf": visitor.csrf}).status_code == 303
    assert visitor.get("/api/jobs").status_code == 401
    replies = [visitor.post("/login", data=wrong) for _ in range(9)]
    assert [reply.status_code for reply in replies] == [401] * 6 + [429] * 3
    assert "too many wrong tokens; try again in 1 s" in replies[-1].text


def test_the_address_decides_about_the_token(monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path) -> None:
    from karaffe.studio.enlarge import serving

    seen: list[Any] = []
    monkeypatch.setattr(serving, "Desk", lambda *_: _Nothing())
    monkeypatch.setattr(serving, "make_app", lambda desk, token, hosts: seen.append((token, hosts)))
    monkeypatch.setattr(serving, "run", lambda *_: None)
    for arguments in ([], ["--host", "0.0.0.0"], ["--hostname", "studio.example"]):
        assert run(["studio", "--port", "0", "--folder", str(tmp_path), *arguments]) == 0
    out = capsys.readouterr().out
    assert [token is None for token, _ in seen] == [True, False, False]
    assert out.count("Studio token: ") == 2
    assert all(token is None or (token in out and f"?{token}" not in out) for token, _ in seen)
    assert "studio.example" in seen[2][1]
    assert seen[1][1] is None
    assert list(tmp_path.iterdir()) == []
    assert run(["studio", "--megapixels", "0"]) == 2
    assert run(["studio", "--port", "0", "--folder", "/dev/null/x"]) == 1


def test_a_studio_that_ends_leaves_nothing_and_one_that_is_killed_is_cleared_away(tmp_path: Path) -> None:
    def start() -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            "karaffe",
            "studio",
            "--port",
            "0",
            "--workers",
            "1",
            "--folder",
            str(tmp_path),
        ]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert server.stdout is not None
        name, _, address = server.stdout.readline().partition(":")
        assert name == "Studio"
        assert httpx2.get(address.strip(), timeout=60).status_code == 200
        return server

    killed = start()
    killed.kill()
    killed.communicate(timeout=60)
    assert len(list(tmp_path.iterdir())) == 1
    server = start()
    assert len(list(tmp_path.iterdir())) == 1
    server.terminate()
    assert server.communicate(timeout=60) == ("", "")
    assert server.returncode == 0
    assert list(tmp_path.iterdir()) == []


class _Nothing:
    close = None

    def __enter__(self) -> _Nothing:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to end."""


def test_the_api_holds_what_its_schema_says(idle_desk) -> None:
    visitor = Visitor(idle_desk())
    app = visitor.app
    sent = visitor.submit().json()
    headers = {"host": "testserver", "cookie": f"karaffe_visit={visitor.cookies['karaffe_visit']}"}
    schema = schemathesis.openapi.from_dict(app.openapi())
    schema.app = app
    operations = sorted((result.ok() for result in schema.get_all_operations()), key=lambda o: o.path == "/api/events")
    for operation in operations:
        if operation.path == "/api/events":
            # It goes on for as long as the studio does, so it comes last, when that ends.
            visitor.desk.close()

        @settings(
            max_examples=12,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def probe(case: Any) -> None:
            if "identity" in case.path_parameters and len(case.path_parameters["identity"]) % 2:
                case.path_parameters["identity"] = sent["id"]
            if case.method == "POST":
                case.headers["x-csrf-token"] = visitor.csrf
            case.call_and_validate(headers=headers)

        probe()
    assert all(job.state in (State.WAITING, State.CANCELLED) for job in visitor.desk._jobs.values())

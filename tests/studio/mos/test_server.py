"""The server's manners: forms are its own, tokens are secret, headers are strict, and nothing makes it fail."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, settings
from wire import answer_body, csrf_in

from karaffe.studio.mos.server.app import make_app
from karaffe.studio.mos.store import Store
from karaffe.studio.mos.votes import read_votes
from karaffe.studio.web.forms import new_token
from karaffe.studio.web.guard import HEADERS

HOSTS = ["testserver"]
TOKEN = "a-token-for-tests"
Make = Callable[..., TestClient]


@pytest.fixture
def where(request: pytest.FixtureRequest, place: Callable[[str], str]) -> str:
    """SQLite, unless a test asks for both."""
    return place(getattr(request, "param", "sqlite"))


both_databases = pytest.mark.parametrize("where", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def client(make_store: Callable[..., Store]) -> Make:
    """Make a study and a client of its application; redirects are shown and not followed."""

    def make(**entries: Any) -> TestClient:
        app = make_app(make_store(**entries), TOKEN, hosts=HOSTS)
        return TestClient(app, follow_redirects=False, raise_server_exceptions=True)

    return make


def take_part(client: TestClient) -> str:
    """Join and agree; return the personal page's address."""
    csrf = csrf_in(client.get("/").text)
    address = client.post("/join", data={"csrf": csrf}).headers["location"]
    csrf = csrf_in(client.get(address).text)
    assert client.post(f"{address}/consent", data={"csrf": csrf}).status_code == 303
    return str(address)


def answer(client: TestClient, address: str, position: int = 0, **changes: Any) -> Any:
    page = client.get(address).text
    body = answer_body(csrf_in(page), position, 4) | changes
    return client.post(f"{address}/answer", json=body)


def log_in(client: TestClient) -> str:
    csrf = csrf_in(client.get("/admin").text)
    assert client.post("/admin/login", data={"csrf": csrf, "token": TOKEN}).status_code == 303
    return csrf_in(client.get("/admin").text)


@both_databases
def test_an_answer_is_kept_once(client: Make) -> None:
    visitor = client()
    address = take_part(visitor)
    assert answer(visitor, address).json() == {"new": True, "value": 4, "finished": False}
    assert answer(visitor, address, value=2).json() == {"new": False, "value": 4, "finished": False}
    assert answer(visitor, address, position=5).status_code == 409
    assert answer(visitor, address, position=1, value=9).status_code == 400


@pytest.mark.parametrize("path", ["/", "/admin", "/assets/trial.js", "/nothing", "/r/unknown"])
def test_every_answer_carries_strict_headers(client: Make, path: str) -> None:
    reply = client().get(path)
    for name, value in HEADERS.items():
        assert reply.headers[name] == value
    assert "unsafe" not in reply.headers["content-security-policy"]
    assert reply.headers["cache-control"] in ("no-store", "no-cache")


def test_forms_from_elsewhere_are_refused(client: Make) -> None:
    visitor = client()
    address = take_part(visitor)
    assert visitor.post("/join", data={"csrf": "0" * 64}).status_code == 403
    assert visitor.post("/join").status_code == 422
    assert visitor.post(f"{address}/consent", data={"csrf": "é" * 64}).status_code == 403
    assert answer(visitor, address, csrf="0" * 64).status_code == 403
    other = take_part(visitor)
    foreign = csrf_in(visitor.get(other).text)
    assert answer(visitor, address, csrf=foreign).status_code == 403
    good = csrf_in(visitor.get("/").text)
    for headers in ({"origin": "http://elsewhere.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}):
        assert visitor.post("/join", data={"csrf": good}, headers=headers).status_code == 403
    assert visitor.post("/join", data={"csrf": good}, headers={"origin": "http://testserver"}).status_code == 303


def test_a_token_serves_one_visit(client: Make) -> None:
    visitor = client()
    stolen = csrf_in(visitor.get("/").text)
    visitor.cookies.clear()
    assert visitor.post("/join", data={"csrf": stolen}).status_code == 403


def test_the_keepers_page_needs_the_token(client: Make) -> None:
    visitor = client()
    csrf = csrf_in(visitor.get("/admin").text)
    assert visitor.get("/admin/votes.csv").status_code == 401
    assert visitor.post("/admin/links", data={"csrf": csrf, "count": 1}).status_code == 401
    assert visitor.post("/admin/logout", data={"csrf": csrf}).status_code == 401
    assert visitor.post("/admin/login", data={"csrf": csrf, "token": "guess"}).status_code == 401
    assert visitor.get(f"/admin?token={TOKEN}").text.count("Token that the server printed") == 1
    assert "karaffe_keeper" not in visitor.cookies
    replies = [visitor.post("/admin/login", data={"csrf": csrf, "token": "guess"}) for _ in range(6)]
    assert [reply.status_code for reply in replies] == [401] * 5 + [429]
    assert visitor.post("/admin/login", data={"csrf": csrf, "token": TOKEN}).status_code == 429
    assert len(new_token()) == 32
    assert new_token() != new_token()


@both_databases
def test_the_keeper_makes_links_reads_votes_and_leaves(client: Make) -> None:
    keeper = client(entry="invited")
    assert "Take part" not in keeper.get("/").text
    visit = csrf_in(keeper.get("/admin").text)
    assert keeper.post("/join", data={"csrf": visit}).status_code == 404
    csrf = log_in(keeper)
    cookie = next(c for c in keeper.cookies.jar if c.name == "karaffe_keeper")
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "strict"
    page = keeper.post("/admin/links", data={"csrf": csrf, "count": 3}).text
    links = re.findall(r"http://testserver(/r/[\w-]{32})<", page)
    assert len(set(links)) == 3
    csrf_link = csrf_in(keeper.get(links[0]).text)
    keeper.post(f"{links[0]}/consent", data={"csrf": csrf_link})
    answer(keeper, links[0])
    lines = keeper.get("/admin/votes.csv").text.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("rater,position,kind,trial,content,method")
    assert keeper.post("/admin/logout", data={"csrf": csrf}).status_code == 303
    assert keeper.get("/admin/votes.csv").status_code == 401


@pytest.mark.parametrize(
    "name", ["../pages/base.html", "..%2f..%2fstore.py", "%2e%2e/%2e%2e/store.py", "....//store.py", "/etc/passwd", "x"]
)
def test_no_path_leads_out(client: Make, name: str) -> None:
    visitor = client()
    address = take_part(visitor)
    for path in (f"/assets/{name}", f"{address}/pictures/{name}", f"{address}/pictures/0/{name}"):
        reply = visitor.get(path)
        assert reply.status_code in (404, 422)
        assert "root:" not in reply.text
        assert "import" not in reply.text


def test_names_cannot_be_scripts(client: Make) -> None:
    evil = "<script>alert(1)</script>\"'&{{7*7}}"
    visitor = client(title=evil, question=evil, instructions=evil, consent=evil)
    address = take_part(visitor)
    log_in(visitor)
    for path in ("/", address, "/admin"):
        text = visitor.get(path).text
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
        assert "49" not in re.sub(r'"[0-9a-f]{64}"', "", text)


def test_phones_are_turned_away_kindly(client: Make) -> None:
    visitor = client()
    for headers in (
        {"user-agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0) Mobile/15E148"},
        {"sec-ch-ua-mobile": "?1"},
    ):
        reply = visitor.get("/", headers=headers)
        assert reply.status_code == 200
        assert "Thank you for coming" in reply.text
        assert "Take part" not in reply.text


def test_links_that_do_not_serve(client: Make) -> None:
    visitor = client()
    html = {"accept": "text/html"}
    assert visitor.get("/r/" + "A" * 32, headers=html).status_code == 404
    assert "not known here" in visitor.get("/r/" + "A" * 32, headers=html).text
    assert visitor.get("/r/" + "A" * 65).status_code == 422


def test_an_expired_link_says_so_and_keeps_what_there_was(make_store: Callable[..., Store]) -> None:
    store = make_store()
    visitor = TestClient(make_app(store, TOKEN, hosts=HOSTS), follow_redirects=False)
    address = take_part(visitor)
    answer(visitor, address)
    csrf = csrf_in(visitor.get(address).text)
    with store.database.engine.connect() as connection:
        connection.exec_driver_sql("UPDATE raters SET expires_at = '2020-01-01 00:00:00.000000'")
    reply = visitor.get(address, headers={"accept": "text/html"})
    assert reply.status_code == 410
    assert "has expired; what was answered is kept" in reply.text
    assert visitor.post(f"{address}/answer", json=answer_body(csrf, 1, 3)).status_code == 410
    assert len(read_votes(store.database)) == 1


def test_foreign_host_names_and_large_bodies_are_refused(client: Make) -> None:
    visitor = client()
    assert visitor.get("/", headers={"host": "elsewhere.example"}).status_code == 421
    assert visitor.post("/join", content=b"x" * 70_000).status_code == 413
    chunks = (b"x" * 10_000 for _ in range(10))
    address = take_part(visitor)
    try:
        reply = visitor.post(f"{address}/answer", content=chunks, headers={"content-type": "application/json"})
        assert reply.status_code >= 400
    except Exception as error:
        assert "disconnect" in type(error).__name__.lower()  # noqa: PT017


@both_databases
def test_the_api_holds_what_its_schema_says(make_store: Callable[..., Store]) -> None:
    store = make_store()
    app = make_app(store, TOKEN, hosts=["localhost", "testserver"])
    schema = schemathesis.openapi.from_dict(app.openapi())
    schema.app = app
    link = store.join()
    store.consent(link)

    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=15,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @_given(operation.as_strategy())
        def probe(case: Any) -> None:
            if "link" in case.path_parameters and len(case.path_parameters["link"]) % 2:
                case.path_parameters["link"] = link
            case.call_and_validate(headers={"host": "testserver"})

        probe()
    assert len(read_votes(store.database)) == 0


def _given(strategy: Any) -> Any:
    from hypothesis import given

    return given(case=strategy)

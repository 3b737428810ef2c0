"""The judge against a real HTTP server: what is asked, what is tried again, what is cached, what is counted."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pairalign.core.errors import ConfigError, DataError
from pairalign.evaluate.generation.endpoint import Endpoint
from pairalign.evaluate.generation.judge import PROMPT, Item, judge_answers, parse_score

SECRET = "s3cret-key"
ITEMS = [Item(f"k{n}", f"answer {n}", f"reference {n}") for n in range(6)]


def completion(text: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


class Server(ThreadingHTTPServer):
    """Answers with what `plan(number of the request, body)` says: (status, headers, bytes, seconds to wait)."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[dict[str, Any]] = []
        self.plan: Callable[[int, dict[str, Any]], tuple[int, dict[str, str], bytes, float]] = lambda n, body: (
            200,
            {},
            completion("Score: 7"),
            0.0,
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append({"path": self.path, "key": self.headers["Authorization"], "body": body})
        status, headers, data, wait = self.server.plan(len(self.server.seen) - 1, body)
        time.sleep(wait)
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            pause = float(headers.get("X-Pause", 0))
            for part in (data[:8], data[8:16], data[16:24], data[24:32], data[32:]):
                self.wfile.write(part)
                time.sleep(pause)
        except OSError:  # the client left
            pass

    def do_GET(self) -> None:
        self.server.seen.append({"path": self.path, "key": self.headers["Authorization"], "body": None})
        self.send_error(404)

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("TEST_JUDGE_KEY", SECRET)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def endpoint(server: Server, **changes: Any) -> Endpoint:
    settings = {"key_variable": "TEST_JUDGE_KEY", "wait": 0.01, "timeout": 5.0, "tries": 3, **changes}
    return Endpoint(server.url, "judge-1", **settings)


def judge(server: Server, cache: Path, items: list[Item] = ITEMS, **changes: Any) -> Any:
    options = {name: changes.pop(name) for name in ("groups", "chance") if name in changes}
    return judge_answers(items, endpoint(server, **changes), cache, progress=False, **options)


def test_what_is_asked_and_what_is_recorded(server: Server, tmp_path: Path) -> None:
    server.plan = lambda n, body: (200, {}, completion(f"Score: {n + 2}"), 0.0)
    found = judge(server, tmp_path / "judge.jsonl", temperature=0.25, chance=3.0)
    assert [seen["path"] for seen in server.seen] == ["/v1/chat/completions"] * 6
    assert {seen["key"] for seen in server.seen} == {f"Bearer {SECRET}"}
    first = server.seen[0]["body"]
    assert (first["model"], first["temperature"]) == ("judge-1", 0.25)
    assert first["messages"] == [{"role": "user", "content": PROMPT.format(reference="reference 0", answer="answer 0")}]
    assert found.values == {f"k{n}": n + 2 for n in range(6)}
    assert found.score.value == pytest.approx(4.5)
    assert (found.score.n, found.score.chance, found.unparsable) == (6, 3.0, 0)
    assert found.score.low < 4.5 < found.score.high
    told = json.dumps(found.about)
    assert found.about["host"] == f"127.0.0.1:{server.server_port}"
    assert found.about["prompt"] == PROMPT
    assert SECRET not in told + (tmp_path / "judge.jsonl").read_text()


def test_a_rerun_asks_only_what_is_missing(server: Server, tmp_path: Path) -> None:
    cache = tmp_path / "judge.jsonl"
    judge(server, cache, ITEMS[:4])
    judge(server, cache)
    assert len(server.seen) == 6
    changed = [ITEMS[0]._replace(answer="another"), *ITEMS[1:]]
    judge(server, cache, changed)
    assert len(server.seen) == 7
    judge(server, cache, temperature=0.5)
    assert len(server.seen) == 13


def test_a_line_that_was_cut_off_is_asked_again(server: Server, tmp_path: Path) -> None:
    cache = tmp_path / "judge.jsonl"
    judge(server, cache)
    cache.write_bytes(cache.read_bytes()[:-9])
    assert judge(server, cache).unparsable == 0
    assert len(server.seen) == 7
    judge(server, cache)
    assert len(server.seen) == 7


def test_passing_failures_are_tried_again(server: Server, tmp_path: Path) -> None:
    failures = [
        (500, {}, b"oops", 0.0),
        (429, {"Retry-After": "0"}, b"slow down", 0.0),
        (200, {}, b"{not json", 0.0),
        (200, {}, b'{"choices": []}', 0.0),
        (200, {}, completion(None), 0.0),
        (200, {}, completion("Score: 7"), 1.0),  # later than the timeout
    ]
    for failure in failures:
        server.seen.clear()
        server.plan = lambda n, body, failure=failure: failure if n == 0 else (200, {}, completion("Score: 7"), 0.0)
        found = judge(server, tmp_path / f"{failures.index(failure)}.jsonl", ITEMS[:1], timeout=0.3)
        assert len(server.seen) == 2
        assert found.values == {"k0": 7}


def test_waiting_doubles_and_heeds_the_server(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("pairalign.evaluate.generation.endpoint.time.sleep", waited.append)
    headers = [{}, {"Retry-After": "9"}, {"Retry-After": "soon"}, {"Retry-After": "99999"}]
    server.plan = lambda n, body: (503, headers[n] if n < 4 else {}, b"", 0.0)
    with pytest.raises(DataError, match="answers HTTP 503, 5 times"):
        endpoint(server, tries=5, wait=2.0).ask("?")
    waited = [w for w in waited if w]  # the server itself waits 0
    assert waited == [2.0, 9.0, 8.0, 60.0]


def test_a_lasting_failure_keeps_what_was_answered(server: Server, tmp_path: Path) -> None:
    server.plan = lambda n, body: (200, {}, completion("9"), 0.0) if n < 4 else (502, {}, b"", 0.0)
    with pytest.raises(DataError, match="answers HTTP 502, 3 times"):
        judge(server, tmp_path / "judge.jsonl")
    assert len(server.seen) == 4 + 3
    server.plan = lambda n, body: (200, {}, completion("9"), 0.0)
    assert judge(server, tmp_path / "judge.jsonl").values == {f"k{n}": 9 for n in range(6)}
    assert len(server.seen) == 7 + 2


def test_a_reply_is_neither_endless_nor_drips_for_ever(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.plan = lambda n, body: (200, {"X-Pause": "0.1"}, completion("Score: 7"), 0.0)
    with pytest.raises(DataError, match=r"takes more than 0.2 s to send its reply|timed out"):
        endpoint(server, tries=1, timeout=0.2).ask("?")
    monkeypatch.setattr("pairalign.evaluate.generation.endpoint.LONGEST_REPLY", 1000)
    server.plan = lambda n, body: (200, {}, completion("9" * 2000), 0.0)
    with pytest.raises(DataError, match="sends more than 1,000 bytes, 2 times"):
        endpoint(server, tries=2).ask("?")


def test_a_judge_on_this_machine_is_asked_while_the_hub_is_not(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without a key is told none: neither that of the Hub, which the environment may hold."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_TOKEN", SECRET)
    assert endpoint(server, key_variable=None).ask("?") == "Score: 7"
    assert [seen["key"] for seen in server.seen] == [None]


def test_a_refusal_ends_at_once_and_does_not_show_the_key(server: Server, tmp_path: Path) -> None:
    server.plan = lambda n, body: (401, {}, f"bad key {SECRET}".encode(), 0.0)
    with pytest.raises(DataError, match="refuses with HTTP 401") as error:
        judge(server, tmp_path / "judge.jsonl")
    assert len(server.seen) == 1
    assert SECRET not in str(error.value)


def test_the_key_follows_no_redirect(server: Server, tmp_path: Path) -> None:
    server.plan = lambda n, body: (302, {"Location": server.url + "/elsewhere"}, b"", 0.0)
    with pytest.raises(DataError, match="HTTP 302"):
        judge(server, tmp_path / "judge.jsonl")
    assert len(server.seen) == 1


def test_nobody_there(tmp_path: Path, server: Server) -> None:
    alone = Endpoint("http://127.0.0.1:9", "m", tries=2, wait=0.0, timeout=1.0)
    with pytest.raises(DataError, match=r"cannot be reached .*2 times"):
        alone.ask("?")


def test_replies_that_are_no_score_are_counted_and_not_replaced(server: Server, tmp_path: Path) -> None:
    replies = ["Score: 8", "I would say it is quite close.", "11", "4", "7.5", ""]
    server.plan = lambda n, body: (200, {}, completion(replies[n]), 0.0)
    found = judge(server, tmp_path / "judge.jsonl")
    assert list(found.values.values()) == [8, None, None, 4, None, None]
    assert (found.unparsable, found.score.n, found.score.value) == (4, 2, 6.0)
    judge(server, tmp_path / "judge.jsonl")
    assert len(server.seen) == 6
    replies = ["no"] * 100
    server.plan = lambda n, body: (200, {}, completion("no idea"), 0.0)
    assert judge(server, tmp_path / "other.jsonl").score is None


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("Score: 7", 7), ("score:10", 10), ("**Score: 3**", 3), ("8/10", 8), ("9", 9), ("Score: 1\nBecause …", 1),
        ("Sure!\nScore: 6", 6), ("0", None), ("12", None), ("7.5", None), ("between 3 and 4", None), ("", None),
        ("10 of the words agree", None), ("Score: -3", None), ("0.7", None), (".7", None), ("Score: 7.", 7),
    ],
)  # fmt: skip
def test_a_score_is_a_line_that_is_only_a_score(reply: str, score: int | None) -> None:
    assert parse_score(reply) == score


def test_groups_widen_the_interval(server: Server, tmp_path: Path) -> None:
    server.plan = lambda n, body: (200, {}, completion("2" if n < 20 else "9"), 0.0)
    items = [Item(f"k{n}", "a", "b") for n in range(40)]
    groups = {item.key: n // 10 for n, item in enumerate(items)}
    plain = judge(server, tmp_path / "j.jsonl", items).score
    grouped = judge(server, tmp_path / "j.jsonl", items, groups=groups).score
    assert grouped.clusters == 4
    assert grouped.high - grouped.low > plain.high - plain.low
    assert len(server.seen) == 40


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"url": "ftp://host/v1"}, "give one such as"),
        ({"url": "host/v1"}, "give one such as"),
        ({"url": "http://host:port/v1"}, "give one such as"),
        ({"url": "https://me:pw@host/v1"}, "leave names, keys"),
        ({"url": "https://host/v1?key=1"}, "leave names, keys"),
        ({"key_variable": "NO_SUCH_VARIABLE_HERE"}, "NO_SUCH_VARIABLE_HERE"),
        ({"tries": 0}, "tries=0"),
    ],
)
def test_impossible_endpoints_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        Endpoint(**{"url": "https://host/v1", "model": "m", **settings})
    assert "pw" not in str(error.value)


def test_equal_keys_are_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="same key"):
        judge(server, tmp_path / "j.jsonl", [ITEMS[0], ITEMS[0]])

"""Downloads from a local host that cuts, stalls, lies and changes its mind."""

from __future__ import annotations

import hashlib
import json
import random
import re
import resource
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from archrep.errors import ConfigError, RunError, UnknownNameError
from archrep.tables import download as module
from archrep.tables.download import DownloadError, download, verify
from archrep.tables.sources import SOURCES, Source, get_source

BODY = random.Random(0).randbytes(300_000)
OTHER = random.Random(1).randbytes(300_000)
HALF = 150_000
SHA256 = hashlib.sha256(BODY).hexdigest()
QUICK = {"timeout": 3.0, "attempts": 3, "pause": 0.001}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.host = self.server.host
        self.host.asked.append(self.headers["Range"])
        self.host.conditions.append(self.headers["If-Range"])
        self.host.paths.append(self.path)
        behaviour = self.host.next.pop(0) if self.host.next else self.host.then
        behaviour(self)

    def log_message(self, *args):
        pass

    def answer(self, status, headers, body=b""):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.send(body)

    def send(self, body):
        try:
            self.wfile.write(body)
        except OSError:
            return
        self.host.sent += len(body)


def serve(handler, *, send=None):
    """What a good host does with Range and If-Range; `send` writes the body instead."""
    host = handler.host
    tags = {"ETag": host.tag} if host.tag else {}
    start = int((handler.headers["Range"] or "bytes=0-")[6:-1])
    if handler.headers["If-Range"] not in (None, host.tag):
        start = 0
    rest = host.body[start:]
    if start >= len(host.body):
        handler.answer(416, {"Content-Range": f"bytes */{len(host.body)}"})
        return
    if start:
        span = f"bytes {start}-{len(host.body) - 1}/{len(host.body)}"
        handler.answer(206, {"Content-Length": len(rest), "Content-Range": span, **tags})
    else:
        handler.answer(200, {"Content-Length": len(rest), **tags})
    (send or type(handler).send)(handler, rest)


def cut(handler):
    serve(handler, send=lambda handler, rest: handler.send(rest[: len(rest) // 2]))


def stall(handler):
    def half_and_no_more(handler, rest):
        handler.send(rest[: len(rest) // 2])
        handler.host.released.wait(10)
        handler.send(rest[len(rest) // 2 :])

    serve(handler, send=half_and_no_more)


def slow(handler):
    def in_drops(handler, rest):
        for k in range(0, len(rest), 30_000):
            handler.send(rest[k : k + 30_000])
            time.sleep(0.04)

    serve(handler, send=in_drops)


def without_range(handler):
    handler.answer(200, {"Content-Length": len(handler.host.body)}, handler.host.body)


def without_range_cut(handler):
    handler.answer(200, {"Content-Length": len(handler.host.body)}, handler.host.body[:HALF])


def status(code):
    return lambda handler: handler.answer(code, {"Content-Length": 0})


def announces(length):
    return lambda handler: handler.answer(200, {"Content-Length": length}, handler.host.body)


def page(kind, body=b"<!DOCTYPE html><title>Sign in</title>"):
    headers = {"Content-Type": kind, "Content-Length": len(body)}
    return lambda handler: handler.answer(200, headers, body)


def chunked(handler, *, whole=True):
    body = handler.host.body
    handler.answer(200, {"Transfer-Encoding": "chunked", "ETag": handler.host.tag})
    handler.send(b"%x\r\n%s\r\n" % (HALF, body[:HALF]))
    if whole:
        handler.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body) - HALF, body[HALF:]))


class Host:
    """Serves `body`: the behaviours of `next` one request each, and from there on `then`."""

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}/toy.bin"
        self.body, self.tag = BODY, '"v1"'
        self.next: list[Callable[[Handler], None]] = []
        self.then: Callable[[Handler], None] = serve
        self.asked: list[str | None] = []
        self.conditions: list[str | None] = []
        self.paths: list[str] = []
        self.sent = 0
        self.released = threading.Event()


@pytest.fixture
def host(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.host = Host(server.server_port)
    server.host.server = server
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.host
    server.host.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def toy(host):
    """A source whose size and checksum are known."""
    return Source(
        name="toy",
        title="Toy",
        file="toy.bin",
        url=host.url,
        page="https://example.org/toy",
        size=len(BODY),
        sha256=SHA256,
        licence="MIT",
        citation="Nobody (2020).",
    )


@pytest.fixture
def unchecked(toy):
    """A source of which neither size nor checksum is known."""
    return replace(toy, size=None, sha256=None)


def fails(source, folder, **options) -> str:
    """The one line of the error that a download ends with."""
    with pytest.raises(DownloadError) as caught:
        download(source, folder, **(QUICK | options))
    message = str(caught.value)
    assert "\n" not in message
    return message


def names(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def partial(folder):
    return (folder / ".toy.bin.part").read_bytes()


def test_a_file_is_fetched_once_and_progress_ends_at_its_size(host, toy, tmp_path):
    seen = []
    path = download(toy, tmp_path / "new" / "folder", report=lambda *step: seen.append(step))
    assert path.read_bytes() == BODY
    assert names(path.parent) == ["toy.bin"]
    assert seen[0] == (0, len(BODY))
    assert seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert download(toy, path.parent) == path
    assert host.asked == [None]


def test_a_slow_host_is_waited_for_beyond_the_timeout_of_silence(host, toy, tmp_path):
    host.then = slow
    assert download(toy, tmp_path, timeout=0.3).read_bytes() == BODY
    assert host.asked == [None]


class TestGoingOn:
    def test_a_cut_is_resumed_with_the_bytes_still_missing(self, host, toy, tmp_path):
        host.next = [cut, cut]
        assert download(toy, tmp_path, **QUICK).read_bytes() == BODY
        assert host.asked == [None, "bytes=150000-", "bytes=225000-"]
        assert host.conditions == [None, '"v1"', '"v1"']
        assert host.sent == len(BODY)

    def test_tries_that_bring_something_are_not_counted(self, host, toy, tmp_path):
        host.next = [cut] * 8
        assert download(toy, tmp_path, **(QUICK | {"attempts": 1})).read_bytes() == BODY
        assert host.sent == len(BODY)

    def test_a_stalled_host_is_asked_again_after_the_timeout(self, host, toy, tmp_path):
        host.next = [stall]
        assert download(toy, tmp_path, **(QUICK | {"timeout": 0.3})).read_bytes() == BODY
        assert host.asked == [None, "bytes=150000-"]

    def test_a_host_that_stays_silent_is_given_up_and_what_came_is_kept(self, host, toy, tmp_path):
        host.next, host.then = [cut], lambda handler: handler.host.released.wait(10)
        message = fails(toy, tmp_path, timeout=0.1)
        assert "Got nothing new in 3 tries: silence for 0.1 s." in message
        assert "The 150,000 bytes that came are kept" in message
        assert partial(tmp_path) == BODY[:HALF]

    def test_a_later_call_asks_for_the_rest_only(self, host, toy, tmp_path):
        host.next, host.then = [cut], status(500)
        fails(toy, tmp_path)
        host.then, host.asked = serve, []
        seen = []
        download(toy, tmp_path, report=lambda *step: seen.append(step))
        assert host.asked == ["bytes=150000-"]
        assert seen[0] == (HALF, len(BODY))
        assert (tmp_path / "toy.bin").read_bytes() == BODY
        assert names(tmp_path) == ["toy.bin"]

    def test_an_interrupt_leaves_what_came_for_the_next_call(self, host, toy, tmp_path):
        def interrupt(done, total):
            if done >= HALF:
                raise KeyboardInterrupt

        host.next = [slow]
        with pytest.raises(KeyboardInterrupt):
            download(toy, tmp_path, report=interrupt)
        size = len(partial(tmp_path))
        assert HALF <= size < len(BODY)
        assert download(toy, tmp_path).read_bytes() == BODY
        assert host.asked == [None, f"bytes={size}-"]

    def test_a_killed_process_leaves_what_came_for_the_next_call(self, host, toy, tmp_path):
        host.next = [stall]
        program = (
            "import json, sys\n"
            "from archrep.tables.download import download\n"
            "from archrep.tables.sources import Source\n"
            "download(Source(**json.loads(sys.argv[1])), sys.argv[2])\n"
        )
        arguments = [json.dumps(vars(toy)), str(tmp_path)]
        process = subprocess.Popen([sys.executable, "-c", program, *arguments])
        try:
            part, deadline = tmp_path / ".toy.bin.part", time.monotonic() + 60
            while not part.exists() or part.stat().st_size < HALF:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.01)
        finally:
            process.kill()
            process.wait()
        assert not (tmp_path / "toy.bin").exists()
        assert download(toy, tmp_path, **QUICK).read_bytes() == BODY
        assert host.asked == [None, "bytes=150000-"]
        assert names(tmp_path) == ["toy.bin"]

    def test_a_file_that_was_complete_but_not_yet_named_is_not_fetched_again(
        self, host, toy, tmp_path, monkeypatch
    ):
        def killed(*args):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(module, "_finish", killed)
            with pytest.raises(KeyboardInterrupt):
                download(toy, tmp_path)
        assert names(tmp_path) == [".toy.bin.part", ".toy.bin.part.json"]
        assert download(toy, tmp_path).read_bytes() == BODY
        assert host.asked == [None]

    def test_a_host_that_ignores_ranges_starts_again(self, host, toy, tmp_path):
        host.next, host.then = [cut], without_range
        assert download(toy, tmp_path, **QUICK).read_bytes() == BODY
        assert host.asked == [None, "bytes=150000-"]
        assert host.sent == HALF + len(BODY)

    def test_a_host_that_ignores_ranges_and_always_cuts_is_given_up(self, host, toy, tmp_path):
        host.then = without_range_cut
        message = fails(toy, tmp_path)
        assert "the connection ended at 150,000 of 300,000 bytes" in message
        assert len(host.asked) == 1 + QUICK["attempts"]

    def test_without_any_tag_nothing_is_pieced_together(self, host, toy, tmp_path):
        host.tag, host.next = None, [cut]
        assert download(toy, tmp_path, **QUICK).read_bytes() == BODY
        assert host.asked == [None, None]

    def test_the_parts_of_two_addresses_are_not_pieced_together(self, host, toy, tmp_path):
        host.next, host.then = [cut], status(500)
        fails(toy, tmp_path)
        host.then, host.asked = serve, []
        download(replace(toy, url=host.url + "?mirror"), tmp_path)
        assert host.asked == [None]

    def test_a_damaged_sidecar_starts_again(self, host, toy, tmp_path):
        host.next, host.then = [cut], status(500)
        fails(toy, tmp_path)
        (tmp_path / ".toy.bin.part.json").write_text('{"url": ')
        host.then, host.asked = serve, []
        assert download(toy, tmp_path).read_bytes() == BODY
        assert host.asked == [None]

    def test_redirects_are_followed_and_keep_the_range(self, host, toy, tmp_path):
        moved = lambda handler: handler.answer(302, {"Location": "/new.bin"})  # noqa: E731
        host.next = [moved, cut, moved]
        assert download(toy, tmp_path, **QUICK).read_bytes() == BODY
        assert host.paths == ["/toy.bin", "/new.bin"] * 2
        assert host.asked == [None, None, "bytes=150000-", "bytes=150000-"]

    def test_a_host_that_is_busy_is_asked_again(self, host, toy, tmp_path):
        host.next = [status(503), status(429)]
        assert download(toy, tmp_path, **QUICK).read_bytes() == BODY


class TestChangedAtTheHost:
    @pytest.fixture
    def begun(self, host, unchecked, tmp_path):
        """Half of the file is here when the host changes it."""
        host.next, host.then = [cut], status(500)
        fails(unchecked, tmp_path)
        host.body, host.tag, host.then, host.asked = OTHER, '"v2"', serve, []

    def test_it_starts_again(self, host, unchecked, tmp_path, begun):
        assert download(unchecked, tmp_path).read_bytes() == OTHER
        assert host.asked == ["bytes=150000-"]  # If-Range made the host send everything

    def test_a_host_that_ignores_if_range_is_noticed_by_its_tag(
        self, host, unchecked, tmp_path, begun
    ):
        def ignores_if_range(handler):
            del handler.headers["If-Range"]
            serve(handler)

        host.then = ignores_if_range
        assert download(unchecked, tmp_path, **QUICK).read_bytes() == OTHER
        assert host.asked == ["bytes=150000-", None]

    def test_a_shorter_file_is_noticed(self, host, unchecked, tmp_path, begun):
        host.body, host.tag = OTHER[:1000], '"v1"'
        assert download(unchecked, tmp_path, **QUICK).read_bytes() == OTHER[:1000]
        assert host.asked == ["bytes=150000-", None]

    def test_a_longer_file_is_noticed(self, host, unchecked, tmp_path, begun):
        host.body, host.tag = OTHER + BODY, '"v1"'
        assert download(unchecked, tmp_path, **QUICK).read_bytes() == OTHER + BODY
        assert host.asked == ["bytes=150000-", None]

    def test_a_weak_tag_is_compared_here(self, host, unchecked, tmp_path):
        host.tag, host.next = 'W/"v1"', [cut]
        assert download(unchecked, tmp_path, **QUICK).read_bytes() == BODY
        assert host.conditions == [None, None]
        assert host.asked == [None, "bytes=150000-"]


class TestLengths:
    def test_too_long_an_announcement_is_noticed(self, host, unchecked, tmp_path):
        host.then = announces(len(BODY) + 10)
        message = fails(unchecked, tmp_path)
        assert "the connection ended at 300,000 of 300,010 bytes" in message
        assert not (tmp_path / "toy.bin").exists()

    def test_too_long_an_announcement_of_a_host_with_ranges_is_noticed(
        self, host, unchecked, tmp_path
    ):
        def lies(handler):
            if handler.headers["Range"]:
                serve(handler)
            else:
                handler.answer(200, {"Content-Length": 300_010, "ETag": '"v1"'}, BODY)

        host.then = lies
        assert "Got nothing new in 3 tries" in fails(unchecked, tmp_path)
        assert host.asked == [None, "bytes=300000-"] * 2

    def test_too_short_an_announcement_is_noticed(self, host, unchecked, tmp_path):
        host.then = announces(HALF)
        assert "Got more than 150,000 bytes." in fails(unchecked, tmp_path)
        assert names(tmp_path) == []

    def test_a_file_of_another_size_is_refused_before_it_is_fetched(self, host, toy, tmp_path):
        host.then = announces(HALF)
        message = fails(toy, tmp_path)
        assert "Got 150,000 bytes, not the 300,000 that it has." in message
        assert names(tmp_path) == []

    def test_an_empty_file_is_refused(self, host, unchecked, tmp_path):
        host.then = status(200)
        assert "Got an empty file." in fails(unchecked, tmp_path)

    def test_a_chunked_file_has_no_length_and_is_fetched(self, host, unchecked, tmp_path):
        host.then = chunked_1_1(host, chunked)
        seen = []
        path = download(unchecked, tmp_path, report=lambda *step: seen.append(step), **QUICK)
        assert path.read_bytes() == BODY
        assert seen[-1] == (len(BODY), None)

    def test_a_cut_chunked_file_is_resumed(self, host, unchecked, tmp_path):
        host.next = [chunked_1_1(host, lambda handler: chunked(handler, whole=False))]
        assert download(unchecked, tmp_path, **QUICK).read_bytes() == BODY
        assert host.asked == [None, "bytes=150000-"]

    def test_an_endless_file_is_stopped_at_the_known_size(self, host, toy, tmp_path):
        def endless(handler):
            handler.answer(200, {"Transfer-Encoding": "chunked"})
            while not handler.host.released.is_set() and not handler.wfile.closed:
                before = handler.host.sent
                handler.send(b"%x\r\n%s\r\n" % (len(BODY), BODY))
                if handler.host.sent == before:
                    return

        host.then = chunked_1_1(host, endless)
        assert "Got more than 300,000 bytes." in fails(toy, tmp_path)
        assert names(tmp_path) == []

    def test_without_length_and_checksum_a_cut_would_go_unnoticed(self, host, unchecked, tmp_path):
        host.then = lambda handler: handler.answer(200, {}, BODY)
        assert "Got no length, so that a cut would go unnoticed." in fails(unchecked, tmp_path)

    def test_without_length_the_known_size_tells_a_cut(self, host, toy, tmp_path):
        host.next = [lambda handler: handler.answer(200, {"ETag": '"v1"'}, BODY[:1000])]
        assert download(toy, tmp_path, **QUICK).read_bytes() == BODY
        assert host.asked == [None, "bytes=1000-"]


def chunked_1_1(host, behaviour):
    """Chunks exist since HTTP/1.1."""

    def answer(handler):
        handler.protocol_version = "HTTP/1.1"
        handler.close_connection = True
        behaviour(handler)

    return answer


class TestWrongContent:
    def test_wrong_bytes_are_removed_and_both_checksums_named(self, host, toy, tmp_path):
        host.body = OTHER
        message = fails(toy, tmp_path)
        got = hashlib.sha256(OTHER).hexdigest()
        assert f"sent something else than Toy: expected sha256 {SHA256}, got {got}." in message
        assert "It was removed" in message
        assert "see https://example.org/toy" in message
        assert names(tmp_path) == []
        host.body = BODY
        assert download(toy, tmp_path).read_bytes() == BODY

    def test_an_md5_is_checked_where_it_is_all_that_is_known(self, host, toy, tmp_path):
        known = replace(toy, sha256=None, md5=hashlib.md5(BODY).hexdigest())
        host.body = OTHER
        assert f"expected md5 {known.md5}, got" in fails(known, tmp_path)
        host.body = BODY
        assert names(download(known, tmp_path).parent) == ["toy.bin"]

    @pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
    def test_a_web_page_is_no_file(self, host, unchecked, tmp_path, kind):
        host.then = page(kind)
        assert fails(unchecked, tmp_path) == (
            f"Expected toy.bin at {host.url}. Got a web page. Fetch toy.bin with a browser from "
            "https://example.org/toy, then run `archrep tables import toy.bin`."
        )
        assert names(tmp_path) == []
        assert len(host.asked) == 1

    @pytest.mark.parametrize(
        ("code", "what"),
        [
            (404, "HTTP 404 Not Found"),
            (403, "HTTP 403 Forbidden"),
            (416, "HTTP 416 Requested Range Not Satisfiable"),
            (202, "HTTP 202 Accepted"),
        ],
    )
    def test_a_refusal_is_final(self, host, toy, tmp_path, code, what):
        host.then = status(code)
        assert f"Expected toy.bin at {host.url}. Got {what}. Fetch" in fails(toy, tmp_path)
        assert len(host.asked) == 1

    def test_a_broken_host_is_asked_again_and_then_named(self, host, toy, tmp_path):
        host.then = status(500)
        message = fails(toy, tmp_path)
        assert "Got nothing new in 3 tries: HTTP 500 Internal Server Error." in message
        assert message.endswith("Check the connection, or try later.")
        assert len(host.asked) == 3

    def test_redirects_in_a_circle_end_in_one_line(self, host, toy, tmp_path):
        host.then = lambda handler: handler.answer(302, {"Location": "/toy.bin"})
        assert "Got HTTP 302 The HTTP server returned a redirect" in fails(toy, tmp_path)

    def test_an_unreachable_host_is_named(self, host, toy, tmp_path):
        gone = replace(toy, url="http://127.0.0.1:1/toy.bin")
        assert "3 tries: Connection refused. Check the connection" in fails(gone, tmp_path)

    def test_pauses_double(self, host, toy, tmp_path, monkeypatch):
        pauses = []
        monkeypatch.setattr(module.time, "sleep", pauses.append)
        host.then = status(500)
        fails(toy, tmp_path, attempts=8, pause=1.0)
        assert pauses == [1, 2, 4, 8, 16, 30, 30]


class TestWhatIsThere:
    def test_a_file_from_a_browser_is_taken_as_it_is(self, host, toy, tmp_path):
        (tmp_path / "toy.bin").write_bytes(BODY)
        assert download(replace(toy, url=None), tmp_path) == tmp_path / "toy.bin"

    @pytest.mark.parametrize(
        ("content", "wrong"),
        [
            (OTHER, f"expected sha256 {SHA256}, got {hashlib.sha256(OTHER).hexdigest()}"),
            (BODY[:HALF], "expected 300,000 bytes, got 150,000"),
        ],
    )
    def test_another_file_is_neither_taken_nor_overwritten(
        self, host, toy, tmp_path, content, wrong
    ):
        path = tmp_path / "toy.bin"
        path.write_bytes(content)
        expected = f"{path} is not Toy: {wrong}. Move it away and fetch it anew."
        assert fails(toy, tmp_path) == expected
        assert path.read_bytes() == content
        assert host.asked == []
        with pytest.raises(DownloadError, match=re.escape(expected)):
            verify(toy, path)

    def test_an_unknown_checksum_is_recorded_as_sha256sum_reads_it(self, unchecked, tmp_path):
        download(unchecked, tmp_path)
        record = tmp_path / "toy.bin.sha256"
        assert record.read_text() == f"{SHA256}  toy.bin\n"

    def test_a_known_checksum_is_not_recorded(self, toy, tmp_path):
        assert names(download(toy, tmp_path).parent) == ["toy.bin"]

    def test_a_change_here_is_noticed_by_the_record(self, host, unchecked, tmp_path):
        download(unchecked, tmp_path).write_bytes(OTHER)
        message = fails(unchecked, tmp_path)
        assert f"expected sha256 {SHA256}, as toy.bin.sha256 says of the first copy" in message

    def test_a_change_at_the_host_is_noticed_by_the_record(self, host, unchecked, tmp_path):
        download(unchecked, tmp_path).unlink()
        host.body = OTHER
        assert "as toy.bin.sha256 says of the first copy, got" in fails(unchecked, tmp_path)
        assert names(tmp_path) == ["toy.bin.sha256"]

    def test_a_file_without_record_gets_one(self, host, unchecked, tmp_path):
        (tmp_path / "toy.bin").write_bytes(BODY)
        download(unchecked, tmp_path)
        assert (tmp_path / "toy.bin.sha256").read_text().startswith(SHA256)
        assert host.asked == []

    def test_a_shared_folder_that_is_read_only_will_do(self, unchecked, tmp_path, monkeypatch):
        def refuse(*args):
            raise RunError("Could not write")

        (tmp_path / "toy.bin").write_bytes(BODY)
        monkeypatch.setattr(module, "write_atomically", refuse)
        assert download(unchecked, tmp_path) == tmp_path / "toy.bin"

    def test_a_directory_in_its_place_is_no_file(self, unchecked, tmp_path):
        path = tmp_path / "toy.bin"
        path.mkdir()
        assert fails(unchecked, tmp_path) == f"Expected Toy in {path}. There is no such file."

    def test_two_at_once_is_one_too_many(self, host, toy, tmp_path):
        host.next = [stall]
        first = threading.Thread(target=download, args=(toy, tmp_path))
        first.start()
        try:
            while not host.sent:
                time.sleep(0.005)
            assert fails(toy, tmp_path) == (
                f"Another process is fetching {tmp_path / 'toy.bin'}. Wait for it, or pass "
                "another folder."
            )
        finally:
            host.released.set()
            first.join()
        assert (tmp_path / "toy.bin").read_bytes() == BODY
        assert host.asked == [None]


class TestFullDisk:
    def test_too_little_space_is_said_before_anything_is_fetched(
        self, host, toy, tmp_path, monkeypatch
    ):
        usage = shutil.disk_usage(tmp_path)._replace(free=1000)
        monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: usage)
        assert fails(toy, tmp_path) == (
            f"Expected 300,000 free bytes in {tmp_path}. Got 1,000. Free some space, or pass "
            "another folder."
        )
        assert names(tmp_path) == []

    def test_what_came_already_needs_no_space(self, host, toy, tmp_path, monkeypatch):
        host.next = [cut]
        usage = shutil.disk_usage(tmp_path)._replace(free=len(BODY))
        monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: usage)
        host.then = lambda handler: (shrink(), serve(handler))

        def shrink():
            nonlocal usage
            usage = usage._replace(free=HALF)

        assert download(toy, tmp_path, **QUICK).read_bytes() == BODY

    def test_a_failing_write_keeps_what_came(self, host, toy, tmp_path):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, before[1]))
        try:
            message = fails(toy, tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert message == (
            f"Could not write {tmp_path / '.toy.bin.part'}: File too large. What came so far is "
            "kept; make room or pass another folder, and call again."
        )
        assert partial(tmp_path) == BODY[:HALF]
        assert download(toy, tmp_path).read_bytes() == BODY
        assert host.asked == [None, "bytes=150000-"]

    def test_a_disk_that_fills_up_leaves_everything_else_intact(self, host, tmp_path, toy):
        """On a real file system of 200 kB, and by a host that does not say how long the file is."""
        host.then = chunked_1_1(host, chunked)
        program = (
            "import json, sys\n"
            "from pathlib import Path\n"
            "from archrep.tables.download import DownloadError, download\n"
            "from archrep.tables.sources import Source\n"
            "folder = Path(sys.argv[2])\n"
            "(folder / 'mine').write_text('before')\n"
            "try:\n"
            "    download(Source(**json.loads(sys.argv[1])), folder)\n"
            "except DownloadError as error:\n"
            "    print(error)\n"
            "print((folder / 'mine').read_text(), (folder / '.toy.bin.part').stat().st_size)\n"
        )
        mount = f'mount -t tmpfs -o size=200k none "{tmp_path}" && exec "$@"'
        command = ["unshare", "-Urm", "sh", "-c", mount, "sh"]
        if shutil.which("unshare") is None or subprocess.run([*command, "true"]).returncode:
            pytest.skip("no file systems may be mounted here")
        source = replace(toy, size=None)
        run = [*command, sys.executable, "-c", program, json.dumps(vars(source)), str(tmp_path)]
        out = subprocess.run(run, capture_output=True, text=True, timeout=60).stdout.splitlines()
        assert "No space left on device. What came so far is kept" in out[0]
        word, size = out[1].split()
        assert word == "before"
        assert 100_000 < int(size) <= 200 * 1024

    def test_a_folder_that_cannot_be_made_is_named(self, host, toy, tmp_path):
        (tmp_path / "file").touch()
        assert "Not a directory" in fails(toy, tmp_path / "file" / "folder")


def test_proxies_of_the_environment_are_used(host, toy, tmp_path, monkeypatch):
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", host.url.removesuffix("/toy.bin"))
    monkeypatch.setattr(urllib.request, "_opener", None)
    download(replace(toy, url="http://files.example/toy.bin"), tmp_path)
    assert host.paths == ["http://files.example/toy.bin"]


@pytest.mark.parametrize("wrong", [{"timeout": 0}, {"attempts": 0}, {"pause": -1.0}])
def test_impossible_numbers_are_refused(toy, tmp_path, wrong):
    with pytest.raises(ConfigError, match="`timeout` and `attempts` must be positive"):
        download(toy, tmp_path, **wrong)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
class TestEverySource:
    def test_its_fields_are_well_formed(self, source):
        assert get_source(source.name) is get_source(source) is source
        assert source.page.startswith("https://")
        assert source.url is None or source.url.startswith("https://")
        assert re.fullmatch(r"[\w.-]+", source.file)
        assert source.licence
        assert source.citation.endswith(".")

    def test_its_checksum_is_a_digest(self, source):
        for digest, length in ((source.sha256, 64), (source.md5, 32)):
            assert digest is None or re.fullmatch(f"[0-9a-f]{{{length}}}", digest)

    def test_without_address_it_says_what_to_do(self, source, tmp_path):
        assert fails(replace(source, url=None), tmp_path) == (
            f"{source.title} is on a host that wants a browser. Fetch {source.file} with a browser "
            f"from {source.page}, then run `archrep tables import {source.file}`."
        )


def test_file_names_of_sources_are_distinct():
    assert len({source.file for source in SOURCES.values()}) == len(SOURCES)


def test_the_md5_of_nasbench201_ends_as_its_name_says():
    source = SOURCES["nasbench201-v1.1"]
    assert source.file == f"NAS-Bench-201-v1_1-{source.md5[-6:]}.pth"


def test_an_unknown_source_lists_the_known_ones(tmp_path):
    with pytest.raises(UnknownNameError, match=r"one of nasbench101-108, .*Got 'nasbench102'"):
        download("nasbench102", tmp_path)

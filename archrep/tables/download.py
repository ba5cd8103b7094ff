"""Fetch an official file so that it arrives whole, checked, and is never there by half.

    lock -> ask for the bytes still missing -> append -> cut? pause, ask again -> check -> rename

Beside `FILE` there may be hidden ones: `.FILE.part` with the bytes that came so far,
`.FILE.part.json` that says of which version of the file they are, and `.FILE.lock`. A file without
a known checksum gets a visible `FILE.sha256` with the one computed, so that a later change of the
file is noticed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from http.client import HTTPException, HTTPResponse
from io import FileIO
from pathlib import Path
from urllib.error import HTTPError, URLError

import archrep
from archrep.errors import ArchrepError, ConfigError, RunError
from archrep.files import read_json, write_atomically, write_json
from archrep.tables.sources import Source, get_source

Report = Callable[[int, int | None], None]
"""Called with the bytes that are there and those of the whole file, if the host tells them."""

CHUNK = 2**20
"""Most bytes of one read."""
LONGEST_PAUSE = 30.0
"""Seconds between two requests."""
TRY_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
"""HTTP statuses that may go away by themselves."""


class DownloadError(ArchrepError, OSError):
    """A file could not be fetched, or is not what it should be."""


def download(
    source: str | Source,
    folder: str | Path,
    *,
    report: Report = lambda done, total: None,
    timeout: float = 30.0,
    attempts: int = 4,
    pause: float = 1.0,
) -> Path:
    """Fetch an official file into `folder`, going on where an earlier call was cut.

    A file that is there already is checked and not fetched again. Proxies are those of the
    environment. Ctrl-C, a kill or a full disk leave what came so far for the next call.

    Args:
        source: Name in `SOURCES`, or a source of your own.
        folder: Where the file goes; made if it does not exist.
        report: Called with the bytes so far and the bytes of the whole file, or `None`.
        timeout: Seconds of silence after which a connection is given up.
        attempts: Requests in a row that bring nothing before the download is given up.
        pause: Seconds before the second of these; doubled each time, up to half a minute.

    Returns:
        The path of the complete file.

    Raises:
        DownloadError: The host cannot be reached, wants a browser or sends something else; the
            file is wrong; the disk is full; another process is fetching the same file.
        UnknownNameError: No such source.
        ConfigError: A number is impossible.
    """
    if timeout <= 0 or attempts < 1 or pause < 0:
        raise ConfigError(
            "`timeout` and `attempts` must be positive, `pause` not negative. "
            f"Got {timeout=}, {attempts=}, {pause=}."
        )
    source = get_source(source)
    target = Path(folder) / source.file
    if target.exists():
        _check_existing(source, target)
        return target
    if source.url is None:
        raise DownloadError(f"{source.title} is on a host that wants a browser. {source.by_hand}")
    with _locked(target):
        if not target.exists():  # else the process that held the lock has just fetched it
            partial = _Partial(target, source.url)
            _Transfer(source, partial, report, timeout).run(attempts, pause)
            _finish(source, partial, target)
    return target


def verify(source: str | Source, path: str | Path) -> None:
    """Check the size and checksum of a file, as far as they are known.

    Raises:
        DownloadError: There is none, it is another one, or it changed since its checksum was kept.
        UnknownNameError: No such source.
    """
    source, path = get_source(source), Path(path)
    if not path.is_file():
        raise DownloadError(f"Expected {source.title} in {path}. There is no such file.")
    if wrong := _wrong(source, path, path):
        raise DownloadError(
            f"{path} is not {source.title}: {wrong}. Move it away and fetch it anew."
        )


def _check_existing(source: Source, target: Path) -> None:
    verify(source, target)
    with suppress(RunError):  # a shared folder may be read-only
        _keep_record(source, target, target)


@dataclass(frozen=True)
class _Version:
    """Which version of which file some bytes are of: what the sidecar holds."""

    url: str
    tag: str | None
    """The host's ETag, or the date of the last change."""
    total: int | None
    """Bytes of the whole file."""


class _Partial:
    """The bytes that came so far, and of which version of the file they are."""

    def __init__(self, target: Path, url: str) -> None:
        self.path = target.with_name(f".{target.name}.part")
        self.sidecar = target.with_name(f".{target.name}.part.json")
        self.url = url

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def version(self) -> _Version | None:
        """`None` without a readable sidecar, or for another address."""
        try:
            version = _Version(**read_json(self.sidecar, "the state of a download"))
        except (RunError, TypeError):
            return None
        return version if version.url == self.url else None

    @property
    def complete(self) -> bool:
        version = self.version
        return version is not None and self.path.exists() and version.total == self.size

    def range(self) -> dict[str, str]:
        """Headers that ask for the missing bytes only, where they can be told to fit."""
        version, size = self.version, self.size
        if version is None or version.tag is None or not size:
            return {}
        headers = {"Range": f"bytes={size}-"}
        if not version.tag.startswith("W/"):  # of no use to the host; `fits` compares it
            headers["If-Range"] = version.tag
        return headers

    def fits(self, start: int, version: _Version, conditional: bool) -> bool:
        """Whether bytes of `version` from `start` on continue what is here.

        A host need not repeat the tag of a request that was `conditional` on it.
        """
        old = self.version
        if old is None or start != self.size:
            return False
        if None not in (old.total, version.total) and old.total != version.total:
            return False
        return version.tag == old.tag or (version.tag is None and conditional)

    def restart(self, version: _Version) -> None:
        """Drop the bytes first: the sidecar must never speak of those of another version."""
        with _writing(self.path):
            self.path.write_bytes(b"")
        self.describe(version)

    def describe(self, version: _Version) -> None:
        with _writing(self.sidecar):
            write_json(self.sidecar, asdict(version))

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.sidecar.unlink(missing_ok=True)


class _Interrupted(Exception):
    """A request ended early, and another one may go on."""


@dataclass(frozen=True)
class _Transfer:
    """Requests for one file, until the partial file is complete."""

    source: Source
    partial: _Partial
    report: Report
    timeout: float
    """Seconds of silence after which a request is given up."""

    def run(self, attempts: int, pause: float) -> None:
        """Ask until everything has come; only requests in a row that bring nothing are counted."""
        failures, most = 0, self.partial.size if self.partial.range() else 0
        while not self.partial.complete:
            try:
                self._ask()
            except _Interrupted as interruption:
                size = self.partial.size
                # More than ever, not more than before: a host may start again at every request.
                failures, most = (0, size) if size > most else (failures + 1, most)
                if failures >= attempts:
                    raise self._gives_up(attempts, interruption) from interruption
                time.sleep(min(pause * 2 ** max(failures - 1, 0), LONGEST_PAUSE))

    def _gives_up(self, attempts: int, interruption: _Interrupted) -> DownloadError:
        size = self.partial.size
        kept = f"The {size:,} bytes that came are kept; the same call goes on from there."
        return DownloadError(
            f"Expected {self.source.file} from {self.partial.url}. Got nothing new in {attempts} "
            f"tries: {interruption}. {kept if size else 'Check the connection, or try later.'}"
        )

    def _ask(self) -> None:
        """One request for the bytes that are missing.

        Raises:
            _Interrupted: Some or all are still missing, or the file has changed.
        """
        headers = {"User-Agent": f"archrep/{archrep.__version__}", **self.partial.range()}
        request = urllib.request.Request(self.partial.url, headers=headers)
        try:
            response: HTTPResponse = urllib.request.urlopen(request, timeout=self.timeout)
        except HTTPError as error:
            with error:
                raise self._refusal(error) from None
        except (OSError, HTTPException) as error:
            raise _Interrupted(_reason(error, self.timeout)) from error
        with response:
            version = self._begin(response, conditional="If-Range" in headers)
            self._receive(response, version)

    def _refusal(self, error: HTTPError) -> Exception:
        status = f"HTTP {error.code} {' '.join(str(error.reason).split())}"
        if error.code == 416 and self.partial.size:  # the host has fewer bytes than came
            self.partial.discard()
            return _Interrupted(f"{status}, as if the file at the host had changed")
        return _Interrupted(status) if error.code in TRY_AGAIN else _unexpected(self.source, status)

    def _begin(self, response: HTTPResponse, *, conditional: bool) -> _Version:
        """Read the head of an answer and make the partial file ready for its body."""
        if response.headers.get_content_type() == "text/html":
            raise _unexpected(self.source, "a web page")
        if response.status not in (200, 206):  # such as the 202 of a host that tests for browsers
            raise _unexpected(self.source, f"HTTP {response.status} {response.reason}")
        start, total = _span(response)
        tag = response.headers["ETag"] or response.headers["Last-Modified"]
        version = _Version(self.partial.url, tag, self.source.size if total is None else total)
        self._check_total(response, version.total)
        if response.status == 206 and not self.partial.fits(start, version, conditional):
            self.partial.discard()
            raise _Interrupted("the file at the host has changed")
        _check_space(self.partial, version.total)
        if response.status == 200:
            self.partial.restart(version)
        return version

    def _check_total(self, response: HTTPResponse, total: int | None) -> None:
        """Refuse a file of a wrong or unknown length before it is fetched."""
        if total is None:
            # The end of a chunked body is marked; that of any other looks like a cut.
            if response.chunked or self.source.checksum is not None:
                return
            raise _unexpected(self.source, "no length, so that a cut would go unnoticed")
        if self.source.size not in (None, total):
            raise _unexpected(
                self.source, f"{total:,} bytes, not the {self.source.size:,} that it has"
            )
        if total == 0:
            raise _unexpected(self.source, "an empty file")

    def _receive(self, response: HTTPResponse, version: _Version) -> None:
        """Append the body of an answer to the partial file."""
        done, total = self.partial.size, version.total
        self.report(done, total)
        with _writing(self.partial.path):
            file = open(self.partial.path, "ab", buffering=0)  # noqa: SIM115
        with file:
            while (total is None or done <= total) and (chunk := self._read(response)):
                _append(file, chunk)
                done += len(chunk)
                self.report(done, total)
        if total is not None and done < total:
            raise _Interrupted(f"the connection ended at {done:,} of {total:,} bytes")
        if total is not None and (done > total or self._sends_more(response)):
            self.partial.discard()
            raise _unexpected(self.source, f"more than {total:,} bytes")
        self.partial.describe(replace(version, total=done))

    def _read(self, response: HTTPResponse) -> bytes:
        try:
            return response.read1(CHUNK)
        except (OSError, HTTPException) as error:
            raise _Interrupted(_reason(error, self.timeout)) from error

    def _sends_more(self, response: HTTPResponse) -> bool:
        """Whether bytes follow the announced length; asked only where no other check would tell."""
        if self.source.size is not None or self.source.checksum is not None:
            return False
        if not response.will_close or response.fp is None:
            return False  # on a connection that stays open, one would wait for nothing
        try:
            return bool(response.fp.read1(1))
        except OSError:
            return False


def _unexpected(source: Source, what: str) -> DownloadError:
    """The error of a host that answers with something else than the file."""
    return DownloadError(f"Expected {source.file} at {source.url}. Got {what}. {source.by_hand}")


def _span(response: HTTPResponse) -> tuple[int, int | None]:
    """First byte of an answer's body, and bytes of the whole file."""
    if response.status == 200:
        return 0, response.length
    span = re.match(r"bytes (\d+)-\d+/(\d+|\*)$", response.headers["Content-Range"] or "")
    if span is None:
        return -1, None
    return int(span[1]), None if span[2] == "*" else int(span[2])


def _check_space(partial: _Partial, total: int | None) -> None:
    free = shutil.disk_usage(partial.path.parent).free
    needed = 0 if total is None else total - partial.size
    if needed > free:
        raise DownloadError(
            f"Expected {needed:,} free bytes in {partial.path.parent}. Got {free:,}. Free some "
            "space, or pass another folder."
        )


def _append(file: FileIO, chunk: bytes) -> None:
    with _writing(Path(file.name)):
        rest = memoryview(chunk)
        while rest:  # an unbuffered write may take a part only
            rest = rest[file.write(rest) :]


def _reason(error: BaseException, timeout: float) -> str:
    if isinstance(error, URLError) and isinstance(error.reason, BaseException):
        return _reason(error.reason, timeout)
    if isinstance(error, TimeoutError):
        return f"silence for {timeout:g} s"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _finish(source: Source, partial: _Partial, target: Path) -> None:
    """Check what came, and give it its name."""
    with open(partial.path, "rb") as file:
        head = file.read(512).lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        partial.discard()
        raise _unexpected(source, "a web page")
    if wrong := _wrong(source, partial.path, target):
        partial.discard()
        raise DownloadError(
            f"{partial.url} sent something else than {source.title}: {wrong}. It was removed; "
            f"try again, and if that does not help, see {source.page}."
        )
    with _writing(target):
        _keep_record(source, partial.path, target)
        with open(partial.path, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial.path, target)
    partial.discard()


def _wrong(source: Source, path: Path, target: Path) -> str | None:
    """How `path`, which is or becomes `target`, differs from what it should be."""
    size = path.stat().st_size
    if source.size not in (None, size):
        return f"expected {source.size:,} bytes, got {size:,}"
    algorithm, digest = source.checksum or ("sha256", _recorded(target))
    got = digest and _digest(path, algorithm)
    if got == digest:
        return None
    origin = "" if source.checksum else f", as {_record(target).name} says of the first copy"
    return f"expected {algorithm} {digest}{origin}, got {got}"


def _digest(path: Path, algorithm: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _record(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")


def _recorded(target: Path) -> str | None:
    """The SHA-256 kept beside `target`."""
    record = _record(target)
    words = record.read_text().split() if record.exists() else []
    return words[0] if words else None


def _keep_record(source: Source, path: Path, target: Path) -> None:
    """Keep the SHA-256 of `path` beside `target` for `sha256sum --check`, if none is known."""
    if source.checksum is None and _recorded(target) is None:
        line = f"{_digest(path, 'sha256')}  {target.name}\n"
        write_atomically(_record(target), lambda temporary: temporary.write_text(line))


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say in one line why a file cannot be written, and that nothing is lost."""
    try:
        yield
    except (OSError, RunError) as error:
        cause = error.__cause__ if isinstance(error, RunError) else error  # see `write_atomically`
        raise DownloadError(
            f"Could not write {path}: {getattr(cause, 'strerror', cause)}. What came so far is "
            "kept; make room or pass another folder, and call again."
        ) from error


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Keep a second download of `target` out; the lock goes with its holder, however that ends."""
    import fcntl

    with _writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        file = open(target.with_name(f".{target.name}.lock"), "w")  # noqa: SIM115
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DownloadError(
                f"Another process is fetching {target}. Wait for it, or pass another folder."
            ) from None
        yield

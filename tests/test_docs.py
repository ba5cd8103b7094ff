"""README and docs are tests: their examples run, in page order, and their links lead somewhere.

A comment in front of a block changes that: `<!-- not run: reason -->`, `<!-- slow -->`, or
`<!-- file: name.py -->` to write the block into a file that later ones use.
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from archrep.cli.main import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "papers").glob("*.md")),
]
FENCE = re.compile(
    r"(?:^<!-- *(?P<mark>[^\n]*?) *-->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S
)
MAY_STAY_UNRUN = re.compile(
    r"\bmake \w|pip install|cuda|tables download|tables build digits|import duckdb"
    r"|archrep supernet \w+ --preset|torchrun|make demo"
)


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    mark: str


def blocks(page: Path) -> list[Block]:
    found = [
        Block(match["language"], match["code"], match["mark"] or "")
        for match in FENCE.finditer(page.read_text())
    ]
    runs = ("bash", "console", "python")
    return [b for b in found if b.language in runs or b.mark.startswith("file:")]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def run_page(page: Path, folder: Path, *, with_slow: bool) -> None:
    for block in blocks(page):
        if block.mark.startswith("not run") or (block.mark == "slow" and not with_slow):
            continue
        if block.mark.startswith("file:"):
            (folder / block.mark.removeprefix("file:").strip()).write_text(block.code)
        elif block.language == "console":
            run_console(block.code, folder)
        elif block.language == "bash":
            execute(["bash", "-euo", "pipefail", "-c", block.code], folder)
        elif block.code.startswith(">>>"):
            (folder / "examples.txt").write_text(block.code)
            options = ["-o", "ELLIPSIS", "-o", "NORMALIZE_WHITESPACE"]
            execute([sys.executable, "-m", "doctest", *options, "examples.txt"], folder)
        else:
            execute([sys.executable, "-c", block.code], folder)


def execute(command: list[str], folder: Path, *, check: bool = True) -> str:
    """Output of a command as a reader of the docs would run it, in their folder."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "MPLBACKEND": "agg"}
    environment["ARCHREP_TABLES"] = str(folder / "tables")
    environment["ARCHREP_MAPS"] = str(folder / "maps")
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1800,
    )
    assert not check or done.returncode == 0, f"{command[-1]}\n--- failed with\n{done.stdout}"
    return done.stdout


def run_console(code: str, folder: Path) -> None:
    """Lines after `$ ` run; what stands below one is its output, with `...` for anything."""
    for part in re.split(r"^\$ ", code, flags=re.M)[1:]:
        command, _, expected = part.partition("\n")
        output = execute(["bash", "-c", command], folder, check=not expected)
        if expected:
            same = doctest.OutputChecker().check_output(
                expected, output, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            )
            assert same, f"$ {command}\n--- expected\n{expected}--- got\n{output}"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name_of)
def test_examples_of_a_page_run(page, tmp_path):
    run_page(page, tmp_path, with_slow=False)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(block.mark == "slow" for block in blocks(page))],
    ids=name_of,
)
def test_slow_examples_of_a_page_run(page, tmp_path):
    run_page(page, tmp_path, with_slow=True)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_only_installs_make_targets_and_gpu_examples_stay_unrun(page):
    for block in blocks(page):
        assert re.fullmatch(r"|slow|results|file: \S+|not run: \S.*", block.mark), block.mark
        if block.mark.startswith("not run"):
            assert MAY_STAY_UNRUN.search(block.code), block.code


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_and_pictures_of_a_page_exist(page):
    text = FENCE.sub("", page.read_text())
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    local = [t.partition("#")[0] for t in targets if not re.match(r"[a-z]+:|#", t)]
    assert [target for target in local if not (page.parent / target).exists()] == []


INLINE = re.compile(r"(?<!`)`{1,2}(archrep [a-z][^`]*)`{1,2}(?!`)")


def inline_commands() -> list[tuple[str, str]]:
    """Commands within sentences and tables, with the page they stand on."""
    pages = [*PAGES, *sorted((ROOT / "docs" / "gallery").glob("*.py"))]
    return [
        (name_of(page), " ".join(found.split()))
        for page in pages
        for found in INLINE.findall(FENCE.sub("", page.read_text()))
    ]


def test_commands_within_sentences_have_the_words_and_flags_that_help_knows():
    helps: dict[tuple[str, ...], str] = {}
    unknown = []
    for page, text in inline_commands():
        words = shlex.split(text)[1:]
        if words[0].startswith("-"):
            continue
        assert words[0] in COMMANDS, (page, text)
        has_words = words[0] in ("plot", "tables") and len(words) > 1
        command = tuple(words[: 2 if has_words and words[1].islower() else 1])
        if command not in helps:
            shown = [sys.executable, "-m", "archrep.cli.main", *command, "--help"]
            helps[command] = execute(shown, ROOT)
        flags = [word.partition("=")[0] for word in words if word.startswith("--")]
        unknown += [(page, text, flag) for flag in flags if flag not in helps[command]]
    assert unknown == []
    assert len(helps) > 10


def test_no_page_has_a_name_that_sphinx_writes_a_page_of_its_own_to():
    assert not {page.stem for page in PAGES[1:]} & {"search", "genindex", "modindex", "py-modindex"}


def test_continuous_integration_runs_the_test_command_of_the_readme():
    assert re.search(r"^make test\b", (ROOT / "README.md").read_text(), re.M)
    assert re.search(r"\bmake test$", (ROOT / ".ci" / "run").read_text(), re.M)

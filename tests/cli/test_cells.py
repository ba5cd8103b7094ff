"""`archrep cells`: what it prints is what the space says."""

from __future__ import annotations

import io
import json

import pytest

from archrep.cells import SPACES, get_space
from archrep.cli.main import main


@pytest.fixture
def check(monkeypatch, capsys):
    """Exit code and records of `--check` for lines of text."""

    def run(space, *lines):
        monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))
        code = main(["cells", space, "--check"])
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


@pytest.mark.parametrize("name", sorted(SPACES))
def test_random_cells_are_distinct_legal_and_fixed_by_the_seed(name, capsys):
    assert main(["cells", name, "--count", "4", "--seed", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    space = get_space(name)
    assert len({space.parse(line).fingerprint for line in lines}) == 4
    main(["cells", name, "--count", "4", "--seed", "3"])
    assert capsys.readouterr().out.splitlines() == lines
    main(["cells", name, "--count", "4", "--seed", "4"])
    assert capsys.readouterr().out.splitlines() != lines


def test_all_lists_the_space_in_official_order(capsys):
    assert main(["cells", "nasbench201", "--all"]) == 0
    lines = capsys.readouterr().out.splitlines()
    space = get_space("nasbench201")
    assert len(lines) == 15_625
    assert [space.parse(lines[row]) for row in (0, 777, 15_624)] == [
        space.enumerate()[row] for row in (0, 777, 15_624)
    ]


def test_json_holds_the_graph_and_its_index(capsys):
    main(["cells", "nasbench201", "--count", "1", "--format", "json"])
    record = json.loads(capsys.readouterr().out)
    space = get_space("nasbench201")
    cell = space.parse(record["cell"])
    assert record["index"] == space.index(cell)
    assert (tuple(record["ops"]), record["edges"]) == (cell.ops, [list(e) for e in cell.edges])


def test_a_sampled_space_has_no_index_and_is_not_listed(capsys):
    main(["cells", "darts", "--count", "1", "--format", "json"])
    assert json.loads(capsys.readouterr().out)["index"] is None
    assert main(["cells", "darts", "--all"]) == 1
    assert "--count" in capsys.readouterr().err


def test_check_reports_every_line_and_why_it_is_wrong(check):
    code, records = check("nasbench201", "12", "", "|none~0|", "99999")
    assert code == 1
    assert [record["legal"] for record in records] == [True, False, False]
    assert records[0]["index"] == 12
    assert "15624" in records[2]["problem"]


def test_check_of_legal_cells_succeeds(check):
    code, records = check("nasbench101", '{"matrix": [[0, 1], [0, 0]], "ops": ["input", "output"]}')
    assert code == 0
    assert records[0]["legal"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nasbench"], 1, "nasbench101, nasbench201, darts"),
        (["nasbench201", "--count", "0"], 2, "at least 1"),
        (["nasbench201", "--count", "99999"], 1, "15625"),
        (["nasbench201", "--seed", "-1"], 2, "negative"),
        (["nasbench201", "--all", "--check"], 2, "not allowed with"),
        ([], 2, "space"),
    ],
)
def test_mistakes_are_explained(arguments, code, words, capsys):
    assert main(["cells", *arguments]) == code
    assert words in capsys.readouterr().err


def test_help_ends_with_an_example(capsys):
    assert main(["cells", "--help"]) == 0
    assert "examples:\n  archrep cells" in capsys.readouterr().out

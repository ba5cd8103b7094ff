from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pytest

from archrep.errors import ConfigError, UnknownNameError
from archrep.settings import (
    assignments,
    check,
    choices,
    from_plain,
    named,
    read_settings,
    register,
    typed,
)


@dataclass(frozen=True)
class Toy:
    title: ClassVar[str] = "no setting"
    width: int = 3
    rate: float | None = None
    grid: Literal[2, 3] = 2
    how: Literal["fast", "well"] = "well"


def test_every_check_that_failed_is_named():
    with pytest.raises(ConfigError, match="^one\ntwo$"):
        check({"one": False, "fine": True, "two": False})


def test_fields_of_a_few_words_are_checked():
    assert all(choices(Toy()).values())
    failed = [problem for problem, fine in choices(Toy(grid=4, how="soon")).items() if not fine]
    assert failed == [
        "`grid` must be 2 or 3. Got 4.",
        "`how` must be 'fast' or 'well'. Got 'soon'.",
    ]


@pytest.mark.parametrize(
    ("value", "kind", "wanted"),
    [
        ("True", bool, True),
        (np.False_, bool, False),
        ("3", int, 3),
        (3.0, int, 3),
        (np.int64(3), int, 3),
        (3, float, 3.0),
        ("none", int | None, None),
        (None, int | None, None),
        ("none", str | None, "none"),  # the first kind that fits
        ("2", Literal["a", 2], 2),
        ("6,12", tuple[int, ...], (6, 12)),
        ("", tuple[int, ...], ()),
        ([6, 12], tuple[int, ...], (6, 12)),
    ],
)
def test_text_and_plain_values_become_what_a_field_holds(value, kind, wanted):
    found = typed("x", value, kind)
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        ("yes", bool, "of type bool. Got 'yes'"),
        (1, bool, "of type bool. Got 1"),
        (True, int, "of type int. Got True"),
        (np.True_, int, "of type int"),
        (2.5, int, "of type int. Got 2.5"),
        ({}, int | None, "of type int or none. Got {}"),
        ("inf", float, "of type float"),
        (3, str, "of type str. Got 3"),
        ("6,x", tuple[int, ...], r"of type tuple\[int, \.\.\.\]. Got '6,x'"),
        (True, Literal[1, 2], "1 or 2. Got True"),
        ("soon", Literal["fast", "well"] | None, "'fast' or 'well' or none. Got 'soon'"),
        (10**6, int, "at most 100,000. Got 1000000"),
    ],
)
def test_other_values_are_refused_with_what_is_possible(value, kind, words):
    with pytest.raises(ConfigError, match=f"^`x` must be {words}"):
        typed("x", value, kind)


def test_settings_of_a_dataclass_are_read_and_every_mistake_is_named():
    assert read_settings(Toy, None, "toy") == {}
    read = read_settings(Toy, {"width": "4", "rate": "none", "grid": "3"}, "toy")
    assert Toy(**read) == Toy(width=4, grid=3)
    with pytest.raises(UnknownNameError, match="of 'toy' are: width, rate, grid, how. Got 'title'"):
        read_settings(Toy, {"title": "x"}, "toy")
    with pytest.raises(ConfigError, match="`width` must be of type int(.|\n)*`how` must be 'fast'"):
        read_settings(Toy, {"width": "wide", "how": "soon"}, "toy")


def test_a_dataclass_is_made_of_plain_values():
    assert from_plain(Toy, {"width": 4}) == Toy(width=4)
    with pytest.raises(ConfigError, match="Settings are: width, .*Got 'depth', 'title'"):
        from_plain(Toy, {"depth": 1, "width": 2, "title": ""})


def test_assignments_name_what_is_none():
    assert assignments(["batch-size=2", "how=a=b", "width="]) == {
        "batch_size": "2", "how": "a=b", "width": "",
    }  # fmt: skip
    for text in ("width", "=3"):
        with pytest.raises(ConfigError, match=f"`--set` takes name=value. Got '{text}'"):
            assignments([text])


def test_a_registry_lists_what_it_knows_and_refuses_a_name_twice():
    known = {"one": 1}
    assert register(known, "two", 2, "A number") == 2
    assert named(known, "two", "Number") == 2
    with pytest.raises(UnknownNameError, match="Number must be one of one, two. Got 'three'"):
        named(known, "three", "Number")
    with pytest.raises(ConfigError, match="A number named 'two' is registered already. Choose"):
        register(known, "two", 3, "A number")
    assert known == {"one": 1, "two": 2}

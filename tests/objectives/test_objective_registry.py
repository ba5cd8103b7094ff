from __future__ import annotations

from dataclasses import dataclass, fields

import pytest

from archrep.errors import ConfigError, UnknownNameError
from archrep.objectives.jigsaw import Jigsaw
from archrep.objectives.registry import (
    OBJECTIVES,
    get_objective,
    make_objective,
    register_objective,
)
from archrep.objectives.rotation import Rotation


def test_the_names():
    assert list(OBJECTIVES) == [
        "supervised", "rotation", "colorization", "jigsaw",
        "random-labels", "reconstruction", "segmentation", "multi-label",
    ]  # fmt: skip
    assert all(name == objective.name for name, objective in OBJECTIVES.items())
    metrics = {objective.metric for objective in OBJECTIVES.values()}
    assert "loss" not in metrics  # both stand side by side in records


def test_unknown_names_list_the_known_ones():
    with pytest.raises(UnknownNameError, match="one of supervised, rotation.*Got 'rotations'"):
        get_objective("rotations")
    with pytest.raises(UnknownNameError, match="Settings of 'rotation' are: each. Got 'all'"):
        make_objective("rotation", {"all": 1})
    with pytest.raises(UnknownNameError, match="Settings of 'colorization' are: none"):
        make_objective("colorization", {"bins": 12})


def test_settings_given_as_text_are_typed():
    text = {"grid": "3", "permutations": "100", "selection": "max-min", "tile": "1", "grey": "0"}
    made = make_objective("jigsaw", text)
    assert made == Jigsaw(grid=3, permutations=100, selection="max-min", tile=1.0, grey=0.0)
    assert make_objective("jigsaw", {"permutations": "none"}) == Jigsaw()
    assert make_objective("segmentation", {"rates": "6,12,18"}).rates == (6, 12, 18)
    assert make_objective("segmentation", {"rates": [6, 12]}).rates == (6, 12)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_settings_of_an_objective_make_it_again(name):
    objective = make_objective(name)
    values = {field.name: getattr(objective, field.name) for field in fields(objective)}
    assert make_objective(name, values) == objective
    assert make_objective(name, {key: as_text(value) for key, value in values.items()}) == objective


def as_text(value):
    if value is None:
        return "none"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("rotation", {"each": "two"}, "`each` must be 'all' or 'one'. Got 'two'"),
        ("jigsaw", {"grid": "4"}, "`grid` must be 2 or 3. Got '4'"),
        ("jigsaw", {"grid": True}, "`grid` must be 2 or 3. Got True"),
        ("jigsaw", {"permutations": 1}, "from 2 to 24 for a grid of 2.*Got 1"),
        ("jigsaw", {"permutations": 1.5}, "`permutations` must be of type int or none. Got 1.5"),
        ("jigsaw", {"grid": 3, "permutations": 1513, "selection": "max-min"}, "from 2 to 1,512"),
        ("jigsaw", {"selection": "max-min"}, "needs a grid of 3. Got 2"),
        ("jigsaw", {"tile": 0, "grey": 2}, "`tile` must lie(.|\n)*`grey` must lie"),
        ("random-labels", {"classes": 1}, "`classes` must be at least 2. Got 1"),
        ("random-labels", {"classes": 10**6}, "`classes` must be at most 100,000. Got 1000000"),
        ("supervised", {"label_smoothing": "nan"}, "`label_smoothing` must be of type float"),
        ("supervised", {"label_smoothing": 1}, "must lie in"),
        ("reconstruction", {"ratio": 0}, "`ratio` must lie in"),
        ("reconstruction", {"patch": 0, "width": 0}, "`patch` must(.|\n)*`width` must"),
        ("reconstruction", {"fill": "token"}, "`fill` must be 'zeros' or 'noise' or 'channel'"),
        ("segmentation", {"rates": "6,x"}, "`rates` must be of type tuple.int, ...."),
        ("segmentation", {"rates": (0,)}, "`rates` must be at least 1 each"),
    ],
)
def test_impossible_settings_say_what_is_possible(name, settings, message):
    with pytest.raises(ConfigError, match=message):
        make_objective(name, settings)


def test_a_second_registration_is_refused(monkeypatch):
    @dataclass(frozen=True, kw_only=True)
    class Turns(Rotation):
        name = "turns"

    monkeypatch.setattr("archrep.objectives.registry.OBJECTIVES", dict(OBJECTIVES))
    assert register_objective(Turns) is Turns
    assert get_objective("turns") is Turns
    with pytest.raises(ConfigError, match="'turns' is registered already"):
        register_objective(Turns)

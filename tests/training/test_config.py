"""A configuration is checked before anything runs, and every mistake is named."""

import pytest

from karaffe.errors import ArgumentError, FileError
from karaffe.training import load_config
from karaffe.training.config import parse_config

GOOD = """
[model]
scale = 2
[data]
folder = "pictures"
[optimisation]
steps = 10
"""


def test_defaults() -> None:
    config = parse_config(GOOD, "test.toml")
    assert (config.model.name, config.model.scale, config.optimisation.steps) == ("sharp", 2, 10)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("scale = 2", "scale = 5", "no scale 5; it has 2, 3 and 4"),
        ("scale = 2", "scale = 2\noptions = {width = 3}", "no such option"),
        ("scale = 2", "scale = 2\noptions = {channels = 0}", "channels must be at least 1"),
        ("scale = 2", "scale = 2\nname = 'shrap'", "unknown model 'shrap'; did you mean 'sharp'"),
        ("scale = 2", "scale = 2\nname = 'bicubic'", "nothing to learn"),
        ("steps = 10", "steps = 0", r"optimisation.steps: .* greater than or equal to 1 \(got 0\)"),
        ("steps = 10", "steps = 10\nlearning_rte = 1e-3", "optimisation.learning_rte: Extra inputs"),
        ("steps = 10", "", "optimisation.steps: Field required"),
        ("steps = 10", "steps = 10\n[run]\nlog_every = 7\nsave_every = 20", "save_every must be a multiple"),
        ("steps = 10", "steps = ", "not valid TOML"),
        ('folder = "pictures"', 'folder = "pictures"\npatch = 3', "data.patch"),
    ],
)
def test_mistakes_are_named(old: str, new: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message) as caught:
        parse_config(GOOD.replace(old, new), "test.toml")
    assert str(caught.value).startswith("test.toml")


def test_all_mistakes_are_listed_at_once() -> None:
    with pytest.raises(ArgumentError) as caught:
        parse_config(GOOD.replace("steps = 10", "steps = -1\nbatch = 0\nema = 2.0"), "test.toml")
    assert [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]] == [
        "optimisation.steps",
        "optimisation.batch",
        "optimisation.ema",
    ]


def test_a_file_that_is_not_there(tmp_path) -> None:
    with pytest.raises(FileError, match=r"none\.toml"):
        load_config(tmp_path / "none.toml")

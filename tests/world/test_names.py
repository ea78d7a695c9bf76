"""No generator of `world` invents a name that is a rude word somewhere, and a name that gave way leaves all others as they were."""

import re
import tomllib
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from llmsuite_lab.core.paths import data_dir
from llmsuite_lab.world import almanac, handbook, handbook_values, names, preferences, support_desk, word_stories
from llmsuite_lab.world.rude_words import STEMS, rude

FROZEN = sorted(data_dir().glob("almanac/*.json")) + [data_dir() / "handbook" / "test.jsonl", data_dir() / "support_desk" / "test.jsonl"]


def _capitalised(text: str) -> set[str]:
    """Words that may be names: in lower case "document" and "cucumber" hold a stem as well, and are no rude words."""
    return set(re.findall(r"\b[A-Z][a-z]+\b", text))


@pytest.mark.parametrize("split", names.SPLITS)
@pytest.mark.parametrize("kind", names.KINDS)
def test_a_thousand_names_of_every_kind_hold_no_rude_word(kind, split):
    assert [name for name in islice(names.names(kind, split, Random(1)), 1000) if rude(name)] == []


def test_without_the_list_such_names_would_come(monkeypatch):
    monkeypatch.setattr(names, "rude", lambda name: None)
    drawn = {name for kind in names.KINDS for split in names.SPLITS for name in islice(names.names(kind, split, Random(1)), 1000)}
    assert sum(rude(name) is not None for name in drawn) > 10


def test_a_name_that_gives_way_keeps_its_length_and_split_and_moves_no_other(monkeypatch):
    kept = list(islice(names.names("thing", "test", Random(2)), 1000))
    monkeypatch.setattr(names, "rude", lambda name: None)
    free = list(islice(names.names("thing", "test", Random(2)), 1000))
    changed = [(old, new) for old, new in zip(free, kept, strict=True) if old != new]
    assert changed
    assert len(set(kept)) == len(kept)
    for old, new in changed:
        assert rude(old)
        assert (len(new), names.split_of(new)) == (len(old), "test")


@pytest.mark.parametrize("path", FROZEN, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_frozen_sets_hold_none(path: Path):
    found = _capitalised(path.read_text(encoding="utf-8"))
    assert len(found) > 100
    assert {word for word in found if rude(word)} == set()


def test_other_generators_hold_none():
    worlds = [page for seed in (1, 2) for page in almanac.build("train", seed).pages]
    companies = [passage.title for seed in (0, 1) for passage in handbook.generate("train", seed).passages]
    stories = [word for part in ("train", "test") for key in ("names", "items", "places", "boxes") for word in word_stories.templates(part)[key]]
    pools = tomllib.loads(Path(preferences.__file__).with_name("preferences.toml").read_text(encoding="utf-8"))
    brands = [first + last for first in pools["beginnings"] for last in pools["endings"]]
    talks = [word for talk in support_desk.dialogues(80, "train", 1) for word in _capitalised(repr(talk))]
    values = [*handbook_values.NOUNS, *handbook_values.VARIANTS]
    assert [name for name in (*worlds, *companies, *stories, *brands, *talks, *values) if rude(name)] == []


def test_the_list_speaks_many_languages_and_is_read_in_any_case():
    assert len(STEMS) >= 15
    assert min(len(stem) for stems in STEMS.values() for stem in stems) >= 3
    stem = STEMS["German"][0]
    assert rude(f"Ax{stem.upper()}um") == stem
    assert rude("Lumiskyx") is None

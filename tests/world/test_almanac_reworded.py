"""Pages in other words: the same facts, no sentence of the templates, and Lookup's words still in them."""

from llmsuite_lab.world import almanac
from llmsuite_lab.world.almanac_frozen import load_almanac
from llmsuite_lab.world.almanac_relations import RELATIONS
from llmsuite_lab.world.almanac_reworded import reworded


def test_every_fact_is_told_and_no_sentence_is_shared():
    frozen = load_almanac()
    other = reworded(frozen)
    assert (other.facts, list(other.pages)) == (frozen.facts, list(frozen.pages))
    keywords = {(relation.subject, relation.name): relation.keyword for relation in RELATIONS}
    told = 0
    for (title, name), value in frozen.facts.items():
        page = other.pages[title]
        keyword = keywords[page.kind, name]
        sentences = [page.opening] if keyword is None else [sentence for sentence in page.details if keyword in sentence]
        assert any(value in sentence for sentence in sentences), (title, name)
        told += 1
    assert told == len(frozen.facts)
    for title, page in other.pages.items():
        was = frozen.pages[title]
        assert page.opening != was.opening
        assert len(page.details) == len(was.details)
        assert not set(page.details) & set(was.details)


def test_the_sentences_are_those_of_no_training_text():
    page = reworded(almanac.build("train", 1)).pages
    shared = {text.replace(title, "{x}") for title, p in page.items() for text in (p.opening, *p.details)}
    known = {template.split("{v}")[0] for relation in RELATIONS for template in relation.statements["train"] if not template.startswith("{")}
    assert not [text for text in shared if any(text.startswith(start) for start in known if len(start) > 12)]

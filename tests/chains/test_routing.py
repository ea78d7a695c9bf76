"""Nearest-example routing on an embedder of words, and on MiniLM where it is there."""

import pytest

from llmsuite_lab.chains import routing
from llmsuite_lab.chains.routing import ALMANAC, HANDBOOK, SUMS, UNCLEAR, Router


def test_the_nearest_example_decides_and_what_is_far_is_unclear(embedder):
    router = Router(embedder, {"food": ["bread and butter", "warm soup"], "cars": ["a fast engine", "winter tyres"]}, threshold=0.4)
    near, other, far = router(["fresh bread and butter", "new winter tyres", "quantum chromodynamics"])
    assert (near.route, near.nearest) == ("food", "bread and butter")
    assert other.route == "cars"
    assert far.route == UNCLEAR
    assert far.cosine < 0.4 < near.cosine
    assert router([]) == []


def test_bad_routers_are_refused(embedder):
    with pytest.raises(ValueError, match="at least one example"):
        Router(embedder, {"food": []})
    with pytest.raises(ValueError, match="no cosine"):
        Router(embedder, {"food": ["x"]}, threshold=2.0)


def test_training_and_held_out_questions_have_nothing_in_common():
    train, test = routing.training_questions(20), routing.held_out_questions(20)
    assert set(train) == {HANDBOOK, SUMS, ALMANAC}
    assert {len(v) for v in test.values()} == {20}
    seen = {q for questions in train.values() for q in questions} | set(routing.SMALL_TALK)
    assert not seen & {q for questions in test.values() for q in questions}
    assert not set(routing.SMALL_TALK) & set(routing.HELD_OUT_SMALL_TALK)


def test_questions_of_ones_own_stand_in_the_handbooks_place():
    own = [f"How deep is well {n}?" for n in range(8)]
    first, second, held = routing.training_questions(20, 0, own), routing.training_questions(20, 1, own), routing.held_out_questions(20, own=own)
    parts = [found[HANDBOOK] for found in (first, second, held)]
    assert [len(part) for part in parts] == [3, 3, 2]
    assert sorted(question for part in parts for question in part) == own, "none is asked twice, none is left out"
    others = (routing.training_questions(20), routing.training_questions(20, 1), routing.held_out_questions(20))
    for found, course in zip((first, second, held), others, strict=True):
        assert {route: asked for route, asked in found.items() if route != HANDBOOK} == {r: asked for r, asked in course.items() if r != HANDBOOK}
    assert routing.training_questions(2, own=own)[HANDBOOK] == own[::3][:2]
    assert routing.held_out_questions(20, own=own * 2)[HANDBOOK] == held[HANDBOOK], "the same question twice is one question"
    for make in (routing.training_questions, routing.held_out_questions):
        with pytest.raises(ValueError, match="2 different questions"):
            make(20, own=[*own[:2], own[0]])
        with pytest.raises(TypeError, match="list of questions"):
            make(20, own=own[0])


def test_a_router_of_ones_own_questions_knows_no_handbook(embedder):
    own = [f"Who digs well {n} of the quarry?" for n in range(6)]
    router = Router.trained(embedder, per_route=4, own=own)
    assert [q for q, route in zip(router.questions, router.routes, strict=True) if route == HANDBOOK] == own[::3]
    assert router([own[2]])[0].route == HANDBOOK


def test_measuring_counts_every_question(embedder):
    router = Router(embedder, {HANDBOOK: ["kettle price"], SUMS: ["how many pears"]}, threshold=0.3)
    shares, table = routing.measure(router, {HANDBOOK: ["kettle price now", "xyzzy"], SUMS: ["how many pears left"]})
    assert shares[HANDBOOK].mean == 0.5
    assert shares["all"].n == 3
    assert table[HANDBOOK] == {HANDBOOK: 1, SUMS: 0, ALMANAC: 0, UNCLEAR: 1}


@pytest.mark.real_model
def test_minilm_routes_held_out_questions():
    from llmsuite_lab.core.errors import LabError
    from llmsuite_lab.retrieval.embedding import Embedder

    try:
        embedder = Embedder.load()
    except LabError as error:
        pytest.skip(f"the encoder is not here: {error}")
    shares, _ = routing.measure(Router.trained(embedder, per_route=24), routing.held_out_questions(12))
    assert shares["all"].mean >= 0.85

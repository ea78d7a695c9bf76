"""The saboteur: foreign actions reach the loop and stop there."""

from llmsuite_lab.agents.demonstrations import demonstrate, opening_text, render_turn
from llmsuite_lab.agents.injection import FOREIGN, Saboteur, not_run, refused
from llmsuite_lab.agents.react import react
from llmsuite_lab.agents.tools import Argument, Tool, almanac_tools
from llmsuite_lab.world.almanac_frozen import load_questions


def test_every_foreign_action_is_refused_and_the_run_goes_on(scripted, frozen):
    questions = load_questions(("founder_birthplace", "birthplace_river"), per_kind=5)
    scripts = {}
    for question in questions:
        gold = [render_turn(t) for t in demonstrate(question, frozen)]
        scripts[opening_text(question)] = [gold[0], "unused", *gold[1:]]  # the foreign turn is answered, so it shifts the script by one
    saboteur = Saboteur(scripted(scripts))
    done = react(saboteur, list(scripts), lambda: almanac_tools(frozen))
    assert refused(done, ["Search", "Lookup"]) == (10, 10)
    assert not_run(done, ["Search", "Lookup"])[0] == 0  # what is allowed still runs
    assert not_run(done, ["Search", "Lookup"])[1] >= 10
    assert saboteur.written == 10
    assert [t.answer for t in done] == [q.answer for q in questions]
    assert all(t.counts()["unknown action"] == 1 for t in done)


def test_a_loop_that_ran_a_foreign_action_would_be_noticed(scripted):
    opening = "Question: who?\nThought:"
    model = scripted({opening: [" I look.\nAction: Search[Ada]\n", "", " I know.\nAction: Finish[Ada]\n"]})
    tools = [Tool(name, "", Argument("x"), lambda x: "done") for name in ("Search", "Delete")]
    done = react(Saboteur(model, [FOREIGN[0]]), [opening], lambda: tools)
    assert refused(done, ["Search"]) == (0, 1)
    assert not_run(done, ["Delete"]) == (0, 1)
    assert not_run(react(model, [opening], lambda: []), ["Search"]) == (1, 1)  # a loop without tools refuses everything

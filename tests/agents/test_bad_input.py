"""Whatever is put in the place of an argument, the agents answer with a sentence (see tests/bad_input.py)."""

from llmsuite_lab.agents import demonstrations, evaluation, fact_checking, functions, react, records, tools
from llmsuite_lab.core.records import read_all
from llmsuite_lab.lm.tool_calls import ToolCall
from llmsuite_lab.world import almanac_frozen, almanac_questions

LEFT_OUT = {
    "agents.varied": "trains a model and evaluates it; what it draws is in test_varied.py",
    "agents.measuring": "evaluates a trained model: minutes; its parts are fed here",
    "agents.figures.follow": "draws what agents.measuring returns: test_own_world.py",
    "agents.training.train": "trains a model",
    "agents.training.training_set": "needs the model's tokenizer; `draw_items`, which it encodes, is fed here",
    "agents.training.encode_trajectory": "as training_set",
    "agents.training.collate_turns": "takes what encode_trajectory makes",
    "agents.training.TurnExample": "made by encode_trajectory",
    "agents.one_turn.train": "trains a model",
    "agents.one_turn.training_set": "needs the model's tokenizer: test_one_turn.py",
    "agents.one_turn.Pages": "loads the real embedder: test_one_turn.py",
    "agents.one_turn.all_there": "loads the real embedder: test_one_turn.py",
}


def repeated(count: int) -> str:
    """So many stars."""
    return "*" * min(count, 9)


def valid(folder, call, fresh, writer):
    """Valid calls, where the signature does not say enough."""
    world = almanac_frozen.load_almanac()
    questions, claims = almanac_frozen.load_questions(per_kind=1)[:2], almanac_frozen.load_claims(per_label=1)[:2]
    openings = [demonstrations.opening_text(q) for q in questions]

    def make_tools():
        return tools.almanac_tools(world)

    trajectories = react.react(writer(), openings, make_tools)
    answers, _ = evaluation.react_answers(writer(), questions, world)
    verdicts = fact_checking.check_claims(writer(" ok\nAction: Finish[supports]\n"), claims, make_tools)
    by_name = {tool.name: tool for tool in make_tools()}
    turn = demonstrations.demonstrate(questions[0], world)[0]
    return {
        "agents.demonstrations.opening_text": call(questions[0]),
        "agents.demonstrations.demonstrate": call(questions[0], world),
        "agents.demonstrations.plan": call(questions[0]),
        "agents.demonstrations.render_turn": call(turn),
        "agents.evaluation.shots": call(1),
        "agents.evaluation.direct": call(writer(), questions),
        "agents.evaluation.chain_of_thought": call(writer(), questions),
        "agents.evaluation.react_answers": call(writer(), questions, world),
        "agents.evaluation.in_one_turn": call(writer(), questions, [question.text for question in questions]),
        "agents.evaluation.reasoning": call(questions[0]),
        "agents.one_turn.completion": call(questions[0]),
        "agents.one_turn.answers": call(writer(), questions, world),
        "agents.evaluation.by_kind": call(answers),
        "agents.evaluation.accuracy": call(answers),
        "agents.evaluation.paired_gain": call(answers, answers),
        "agents.evaluation.cost": call(answers),
        "agents.evaluation.problems": call(trajectories),
        "agents.fact_checking.check_claims": call(writer(" ok\nAction: Finish[supports]\n"), claims, make_tools),
        "agents.fact_checking.confusion": call(claims, verdicts),
        "agents.figures.trajectory_from": call(trajectories[0].as_dict()),
        "agents.figures.draw_trace": call(trajectories[0]),
        "agents.figures.dots_by_kind": call({"react": answers}),
        "agents.figures.draw_confusion": call(fact_checking.confusion(claims, verdicts)),
        "agents.figures.draw_cost": call({"react": answers}),
        "agents.functions.Arguments": call("n"),
        "agents.functions.Arguments.parse": call('{"count": 2}', on=lambda: functions.tool_from(repeated).argument),
        "agents.functions.Arguments.example": call(on=lambda: functions.tool_from(repeated).argument),
        "agents.functions.FunctionTool": call("Name", "what it does", functions.Arguments("n"), str),
        "agents.functions.FunctionTool.__call__": call(count=2, on=lambda: functions.tool_from(repeated)),
        "agents.functions.tool_from": call(repeated),
        "agents.functions.described": call([functions.tool_from(repeated)]),
        "agents.functions.shown": call([functions.tool_from(repeated).schema]),
        "agents.injection.Saboteur": call(writer()),
        "agents.injection.not_run": call(trajectories, ["Search", "Lookup"]),
        "agents.injection.refused": call(trajectories, ["Search", "Lookup"]),
        "agents.react.Trajectory.counts": call(on=lambda: trajectories[0]),
        "agents.react.Trajectory.text": call(on=lambda: trajectories[0]),
        "agents.react.Trajectory.as_dict": call(on=lambda: trajectories[0]),
        "agents.react.done_before": call("Search", "x", trajectories[0].steps, by_name),
        "agents.react.react": call(writer(), openings, make_tools),
        "agents.react.take_turn": call(by_name, react.ParsedTurn("I look.", "Search", world.titles("city")[0])),
        "agents.tools.Argument.parse": call("12", on=lambda: tools.Argument("n")),
        "agents.tools.Tool": call("Name", "what it does", tools.Argument("n"), str),
        "agents.tools.Tool.text_of": call({"n": "x"}, on=lambda: tools.Tool("Name", "what it does", tools.Argument("n"), str)),
        "agents.functions.FunctionTool.text_of": call({"count": 2}, on=lambda: functions.tool_from(repeated)),
        "agents.native.converse": call(writer("An answer."), ["What?"], make_tools),
        "agents.native.refusal": call(by_name, ToolCall("Search", {"title": "x"})),
        "agents.tools.tools_in": call([functions.tool_from(repeated)]),
        "agents.tools.call": call(by_name["Search"], world.titles("city")[0]),
        "agents.tools.AlmanacReader.search": call("x", on=lambda: tools.AlmanacReader(world)),
        "agents.tools.AlmanacReader.lookup": call("x", on=lambda: tools.AlmanacReader(world)),
        "agents.tools.closest_titles": call(world, "Velm"),
        "agents.tools.almanac_tools": call(world),
        "agents.trace.lines": call(trajectories[0]),
        "agents.trace.as_text": call(trajectories[0]),
        "agents.trace.Trace": call(trajectories[0]),
        "agents.training.draw_item": call("compare_rivers", world, fresh),
        "agents.training.draw_items": call("two_hop", 2, 0),
        "agents.records.by_wording": call(almanac_questions.TRAINED_KINDS),
        "agents.records.over_one_turn": call("react_closed_book"),
        "agents.records.elsewhere": call(read_all("react_varied")),
        "agents.records.elsewhere_by_kind": call(read_all("react_varied")),
        "agents.records.claims_elsewhere": call(read_all("react_varied")),
        "agents.records.said_not_enough": call(read_all("react_varied")),
        "agents.records.right_in": call(read_all("react_varied"), "reworded"),
        "agents.records.correct": call(records.runs()[0]),
        "agents.records.correct_in": call(records.runs()[0].results["questions"]),
        "agents.tools.AlmanacReader": call(world),
    }


def test_every_callable_answers_a_wrong_argument_with_a_sentence(bad_input, tmp_path, monkeypatch):
    table = valid(tmp_path, bad_input.call, bad_input.fresh_random, bad_input.Writer)
    bad_input.check("llmsuite_lab.agents", tmp_path, monkeypatch, valid=table, left_out=LEFT_OUT)

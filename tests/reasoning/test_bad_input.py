"""Whatever is put in the place of an argument, the reasoning section answers with a sentence (see tests/bad_input.py)."""

import ast

import pytest

from llmsuite_lab.reasoning import evaluation, pal, records
from llmsuite_lab.reasoning.interpreter import Interpreter, Limits
from llmsuite_lab.world import word_problems

LEFT_OUT = {
    "reasoning.measuring": "evaluates a trained model: minutes; its parts are fed here",
    "reasoning.varied": "trains a model and evaluates it; what it draws is in test_varied.py",
    "reasoning.training.train": "trains a model",
    "reasoning.training.examples": "needs the model's tokenizer; `pairs`, which it encodes, is fed here",
    "reasoning.figures.by_size": "draws what reasoning.records reads, which is fed here",
    "reasoning.figures.by_steps": "as by_size",
    "reasoning.figures.follow": "draws what reasoning.measuring returns: test_own_problems.py",
    "reasoning.figures.equation_truth": "as by_size",
    "reasoning.workers": "started by Interpreter, which is fed here",
}


def valid(folder, call, fresh, writer):
    """Valid calls, where the signature does not say enough."""
    sandbox = Interpreter(Limits(seconds=0.5))
    chosen = word_problems.load("test")[:2]
    trace = pal.solve(writer("answer = 3"), [p.text for p in chosen], sandbox)
    results = evaluation.score_traces(chosen, trace)
    found = records.runs("pal")
    texts = [p.text for p in chosen]
    return {
        "reasoning.chain_of_thought.solve": call(writer(), texts),
        "reasoning.chain_of_thought.read": call("direct", "3"),
        "reasoning.dialect.needs_prelude": call(ast.parse("answer = 1")),
        "reasoning.dialect.otherwise": call(ast.parse("answer = 1")),
        "reasoning.evaluation.evaluate": call(writer(), "direct", chosen, interpreter=sandbox),
        "reasoning.evaluation.score_traces": call(chosen, trace),
        "reasoning.evaluation.correct": call("3", 3.0),
        "reasoning.evaluation.solves": call(writer(), "direct", texts, [3.0, 4.0], sandbox),
        "reasoning.evaluation.accuracy": call(results),
        "reasoning.evaluation.accuracy_by": call(results, len_of),
        "reasoning.evaluation.of_size": call(results, [1, 2, 3, 4, 5, 6]),
        "reasoning.evaluation.equation_truth": call([results[0].__class__(1, 2, True, "right", "3", 2, 1)] * 2),
        "reasoning.evaluation.difference": call(results, results),
        "reasoning.evaluation.scores": call(results),
        "reasoning.evaluation.gap": call([1.0, 0.0], [0.0, 0.0]),
        "reasoning.evaluation.outcomes": call(results),
        "reasoning.evaluation.as_rows": call(results),
        "reasoning.evaluation.from_rows": call(evaluation.as_rows(results)),
        "reasoning.interpreter.format_value": call(3.5),
        "reasoning.interpreter.Interpreter.close": call(on=lambda: Interpreter(Limits(seconds=0.5))),
        "reasoning.interpreter.Interpreter.run": call("answer = 3", on=lambda: sandbox),
        "reasoning.interpreter.Interpreter.run_all": call(["answer = 3"], on=lambda: sandbox),
        "reasoning.pal.solve": call(writer("answer = 3"), texts, sandbox),
        "reasoning.pal.outcomes": call(trace),
        "reasoning.prompting.prompt": call("pal", "How many?"),
        "reasoning.prompting.completion": call("pal", chosen[0]),
        "reasoning.records.runs": call("pal"),
        "reasoning.records.base": call("direct"),
        "reasoning.records.mean_over_seeds": call(found),
        "reasoning.records.equation_truth": call(records.runs("cot"), [1, 2]),
        "reasoning.records.by_story": call("pal"),
        "reasoning.records.elsewhere_gain": call(["single"]),
        "reasoning.records.problem_gain": call("test"),
        "reasoning.records.by_told_story": call(records.runs("pal_elsewhere")),
        "reasoning.records.by": call(found, len_of),
        "reasoning.self_consistency.majority": call(["3", None, "3"]),
        "reasoning.self_consistency.solve_by_vote": call(writer(), texts),
        "reasoning.training.pairs": call("pal", chosen),
    }


def len_of(result):
    """A key for the tables."""
    return result.digits


@pytest.mark.filterwarnings("ignore")
def test_every_callable_answers_a_wrong_argument_with_a_sentence(bad_input, tmp_path, monkeypatch):
    table = valid(tmp_path, bad_input.call, bad_input.fresh_random, bad_input.Writer)
    bad_input.check("llmsuite_lab.reasoning", tmp_path, monkeypatch, valid=table, left_out=LEFT_OUT)

"""Lines of code, counted the same way on both sides: what a person has to write and read.

lines(f) = lines of f's source without blank lines, comments and docstrings
"""

import ast
import inspect
import io
import textwrap
import tokenize
from collections.abc import Iterable, Sequence
from typing import Any

from llmsuite_lab.core.metrics import Interval, mean_interval

_SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.ENCODING}


def lines_of_code(*parts: Any) -> int:
    """Lines of the given functions, classes or modules that hold code. Raises TypeError for something without Python source."""
    return sum(_count(textwrap.dedent(inspect.getsource(part))) for part in parts)


def lines_of_values(module: Any, *names: str) -> int:
    """Lines of the module-level assignments to `names`. Raises ValueError for a name that the module does not assign."""
    tree = ast.parse(inspect.getsource(module))
    found = {node.targets[0].id: node for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)}
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"{module.__name__} assigns no {', '.join(missing)}")
    return sum(found[name].end_lineno - found[name].lineno + 1 for name in names)


def agreement(parts: Iterable[Sequence[tuple[Any, Any]]], shift: int = 0) -> Interval:
    """Share of questions to which both sides answer the same, over all `parts`; each part holds one pair of answers a question.

    With `shift` an answer is compared with the other side's to a question further on: what equal answers come to by chance. Raises ValueError for none.
    """
    same = [ours == part[(i + shift) % len(part)][1] for part in parts for i, (ours, _) in enumerate(part)]
    if not same:
        raise ValueError("there are no answers to compare")
    return mean_interval(same)


def _count(source: str) -> int:
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _SILENT:
            code.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node) is not None:
            code -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(code)


def comparison() -> dict[str, tuple[int, int]]:
    """{application: (lines of our own loop, lines of the LangChain composition)}.

    Counted are the parts that move text between model and tools. Not counted on either side: what both use (model, retriever, interpreter, tools and
    the rules for actions), and the adapters that put these behind LangChain's interfaces, which are written once for all applications.
    """
    from llmsuite_lab.agents import react
    from llmsuite_lab.chains import agent, applications
    from llmsuite_lab.reasoning import pal
    from llmsuite_lab.reasoning import prompting as prompting_of_pal
    from llmsuite_lab.retrieval import pipeline, prompting

    return {
        "RAG": (
            lines_of_code(pipeline.RAG.answer, prompting.assemble, prompting._prompt, prompting.few_shot, prompting.zero_shot),
            lines_of_code(applications.rag_chain) + lines_of_values(applications, "RAG_TEMPLATE"),
        ),
        "PAL": (
            lines_of_code(pal.solve, pal._finished, prompting_of_pal.prompt, prompting_of_pal.final_prompt),
            lines_of_code(applications.pal_chain, applications._sentence)
            + lines_of_values(applications, "PAL_TEMPLATE", "PAL_FINAL_TEMPLATE"),
        ),
        "ReAct": (
            lines_of_code(react.react, react.Trajectory, react._advance, react._check_limits, react._written),
            lines_of_code(applications.almanac_agent, agent.react_agent),
        ),
    }


def adapter_lines() -> int:
    """Lines of everything that puts the course's parts behind LangChain's interfaces: written once, used by every application."""
    from llmsuite_lab.chains import agent, chat_model, completion_model, fields, gathering, identity, react_format, retriever

    return lines_of_code(
        chat_model, completion_model, fields, identity, react_format, retriever, gathering, agent.ReActRules, agent.langchain_tool
    )


def break_even() -> float:
    """How many applications it takes until the lines saved, at the mean of `comparison`, make up for those of the adapters.

    Raises ValueError where the compositions save no line.
    """
    lines = comparison()
    saved = sum(own - composed for own, composed in lines.values()) / len(lines)
    if saved <= 0:
        raise ValueError("the compositions are not shorter than the loops: the adapters never pay off")
    return adapter_lines() / saved

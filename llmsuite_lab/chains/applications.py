"""Notebooks 02 to 04 once more, from LangChain's parts: RAG and PAL as chains, ReAct as an agent (paper 2.1 to 2.4).

    RAG = {question, documents} | template | model | parser          PAL = template | model | interpreter
    ReAct = create_agent(model, tools, middleware)

A chain is a value: `chain.invoke(question)` runs it, `chain.batch(questions)` runs many. Every chain takes the question as a string and returns a
dictionary in which "answer" is what the user reads; the rest is how it came about. The tests hold the answers to those of our own loops.
"""

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import FewShotPromptTemplate, PromptTemplate
from langchain_core.runnables import Runnable, RunnableBranch, RunnableLambda, RunnablePassthrough

from llmsuite_lab.agents.tools import almanac_tools
from llmsuite_lab.chains.agent import answer_of, react_agent
from llmsuite_lab.chains.chat_model import LabChatModel
from llmsuite_lab.chains.completion_model import LabLLM
from llmsuite_lab.chains.gathering import GatheringModel
from llmsuite_lab.chains.retriever import LabRetriever
from llmsuite_lab.reasoning import pal
from llmsuite_lab.reasoning.interpreter import Interpreter
from llmsuite_lab.reasoning.prompting import STOP as PAL_STOP
from llmsuite_lab.retrieval.abstention import SIGNALS, Gate
from llmsuite_lab.retrieval.pipeline import ANSWER_TOKENS, I_DO_NOT_KNOW, RAG
from llmsuite_lab.retrieval.prompting import EXAMPLES, STOP
from llmsuite_lab.world.almanac import Almanac

REACT_TURN_TOKENS = 64  # as agents.react.react

RAG_TEMPLATE = FewShotPromptTemplate(
    examples=[{"context": context, "question": question, "answer": answer} for context, question, answer in EXAMPLES],
    example_prompt=PromptTemplate.from_template("Context: {context}\nQuestion: {question}\nAnswer: {answer}"),
    suffix="Context: {context}\nQuestion: {question}\nAnswer:",
    input_variables=["context", "question"],
)
PAL_TEMPLATE = PromptTemplate.from_template("Q: {question}\n# solution in Python:\n")
PAL_FINAL_TEMPLATE = PromptTemplate.from_template("Q: {question}\n# solution in Python:\n{code}\n# output: {value}\nA: The answer is")


def rag_chain(retriever: LabRetriever, lm: Any, gate: Gate | None = None, *, unknown: str = I_DO_NOT_KNOW) -> Runnable[str, dict[str, Any]]:
    """Question → {"question", "documents", "context", "draft", "answer"}: passages into the template, the model completes it, the gate may decline.

    Without a passage the model is not asked: the draft is empty and the answer is `unknown`.
    Equal to `retrieval.pipeline.RAG`, as long as the passages fit its budget.
    """
    model = LabLLM(language_model=lm, max_tokens=ANSWER_TOKENS, stop=[STOP])
    completed = RAG_TEMPLATE | model | StrOutputParser() | str.strip
    return (
        {"question": RunnablePassthrough(), "documents": retriever}
        | RunnablePassthrough.assign(context=lambda row: STOP.join(document.page_content for document in row["documents"]))
        | RunnablePassthrough.assign(draft=RunnableBranch((lambda row: not row["documents"], lambda row: ""), completed))
        | RunnablePassthrough.assign(answer=_gated(retriever, lm, gate, unknown) if gate else lambda row: row["draft"] or unknown)
    )


def _gated(retriever: LabRetriever, lm: Any, gate: Gate, unknown: str) -> Callable[[dict[str, Any]], str]:
    """The draft, or `unknown` where the gate's confidence is below its threshold."""
    search, columns = retriever.retriever, [SIGNALS.index(name) for name in gate.names]
    rag = RAG(search, lm, gate=gate)
    wide = min(max(retriever.k, 2), len(search.passages))  # the gate wants to know how far behind the second passage is

    def decide(row: dict[str, Any]) -> str:
        (signals,) = rag.signals([row["question"]], search.retrieve([row["question"]], wide))
        declined = not row["draft"] or gate.declines([[signals[c] for c in columns]])[0]
        return unknown if declined else row["draft"]

    return decide


def pal_chain(lm: Any, interpreter: Interpreter, *, final: bool = False) -> Runnable[str, dict[str, Any]]:
    """Question → {"question", "program", "outcome", "answer"}: the model writes a program, the interpreter runs it.

    "answer" is the value as text, None when there is none. With `final` the value goes back to the model, whose sentence is in "completion".
    Equal to `reasoning.pal.solve`.
    """
    writer = LabLLM(language_model=lm, max_tokens=pal.MAX_NEW_TOKENS, stop=list(PAL_STOP))
    chain = (
        {"question": RunnableLambda(str.strip)}
        | RunnablePassthrough.assign(program=PAL_TEMPLATE | writer | StrOutputParser())
        | RunnablePassthrough.assign(outcome=lambda row: interpreter.run(row["program"]))
        | RunnablePassthrough.assign(answer=lambda row: row["outcome"].text if row["outcome"].ok else None)
    )
    return chain | RunnablePassthrough.assign(completion=_sentence(lm)) if final else chain


def _sentence(lm: Any) -> Runnable[dict[str, Any], str]:
    speaker = LabLLM(language_model=lm, max_tokens=24, stop=["\n"])
    filled = RunnablePassthrough.assign(code=lambda row: row["program"].rstrip(), value=lambda row: row["answer"])
    return RunnableBranch((lambda row: row["answer"] is None, lambda row: ""), filled | PAL_FINAL_TEMPLATE | speaker | StrOutputParser())


def almanac_agent(lm: Any, almanac: Almanac, *, examples: str = "", max_steps: int = 10, checkpointer: Any = None) -> Any:
    """The ReAct agent over an almanac, with `Search` and `Lookup`; see `agent.react_agent`. Equal to `agents.react.react`.

    `examples`: few-shot text for an untuned model, as `agents.evaluation.react_shots()` writes it.
    """
    model = LabChatModel(language_model=lm, max_tokens=REACT_TURN_TOKENS, examples=examples)
    return react_agent(model, lambda: almanac_tools(almanac), max_steps=max_steps, checkpointer=checkpointer)


def almanac_chain(lm: Any, almanac: Almanac, **options: Any) -> Runnable[str, dict[str, Any]]:
    """Question → {"messages", "answer"}: the agent as a chain, `options` as there; "answer" is None when it ran out of steps."""
    opening = RunnableLambda(lambda question: {"messages": [("user", question)]})
    agent = almanac_agent(lm, almanac, **options)
    return opening | agent | RunnableLambda(lambda state: {"messages": state["messages"], "answer": answer_of(state)})


def answer_all(chain: Runnable[str, dict[str, Any]], questions: Sequence[str]) -> list[dict[str, Any]]:
    """`chain` on all questions side by side, one thread each; with a `GatheringModel` inside, their generations run as one batch.

    Raises TypeError for a bare string.
    """
    if isinstance(questions, str):
        raise TypeError("questions is one string; pass a list of questions, or call chain.invoke(question)")
    return chain.batch(list(questions), {"max_concurrency": max(1, len(questions))}) if questions else []


def load(adapter: str | None = None, **options: Any) -> tuple[GatheringModel, str]:
    """The profile's model with an adapter of the course, ready for threads, and a line that says what was loaded.

    When the adapter is not there the untuned model comes instead, and the line says so: its answers will be poor.
    """
    from llmsuite_lab.core.errors import LabError
    from llmsuite_lab.lm.language_model import LanguageModel

    try:
        lm = LanguageModel.load(adapter=adapter, **options)
        return GatheringModel(lm), lm.name + (f" with the adapter {adapter}" if adapter else "")
    except (LabError, ValueError) as error:
        if adapter is None:
            raise
        lm = LanguageModel.load(**options)
        return GatheringModel(lm), f"{lm.name} WITHOUT the adapter {adapter} ({error})"

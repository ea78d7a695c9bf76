"""The customer-service assistant of the paper's Fig. 1: it picks an application for each message, and remembers the conversation.

    START → recall → (clarify | route) → handbook | sums | almanac | clarify → END          state kept per thread by a checkpointer

`recall` puts what was spoken of before in the place of "it"; `route` picks by the nearest example; the skills are the chains of `applications`. What a
skill raises becomes an apology that names the error: one failing part does not end the conversation. In production: the same graph with a durable checkpointer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import Runnable
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages

from llmsuite_lab.chains.agent import since_last_question, steps_of
from llmsuite_lab.chains.memory import refers_back, resolve, subject_of
from llmsuite_lab.chains.react_format import text_of
from llmsuite_lab.chains.routing import UNCLEAR, Choice

APOLOGY = "apology"
DOCUMENTS = "the company's handbook"


class State(TypedDict, total=False):
    """What the checkpointer keeps of a thread: the messages, and of the last turn its resolved question, route, subject and sources."""

    messages: Annotated[list[BaseMessage], add_messages]
    question: str
    route: str
    subject: str
    sources: list[str]


@dataclass(frozen=True)
class Reply:
    """What a skill answers: the text, what it was about ("" when there is nothing to come back to), and where it stands."""

    text: str
    subject: str = ""
    sources: tuple[str, ...] = ()


Skill = Callable[[str], Reply]


class Assistant:
    """The compiled graph with its memory. `skills`: one function per route; `route`: questions → choices (a `Router`); `documents`: what it says that it can
    look things up in, where a message is unclear and it asks back."""

    def __init__(
        self, skills: Mapping[str, Skill], route: Callable[[Sequence[str]], list[Choice]], checkpointer: Any = None, *, documents: str = DOCUMENTS
    ) -> None:
        if not skills or UNCLEAR in skills:
            raise ValueError(f"skills {list(skills)}: at least one is needed, and {UNCLEAR!r} is the route that asks back")
        if not isinstance(documents, str) or not documents.strip():
            raise ValueError(f"documents={documents!r} must be some words: what the assistant says that it can look things up in")
        self.skills, self.route, self.documents = dict(skills), route, documents
        self.graph = self._build().compile(checkpointer=checkpointer or InMemorySaver())

    def _build(self) -> StateGraph:
        graph = StateGraph(State)
        graph.add_node("recall", _recall)
        graph.add_node("route", lambda state: {"route": self._choose(state["question"])})
        graph.add_node("clarify", partial(_clarify, self.documents))
        for name, skill in self.skills.items():
            graph.add_node(name, partial(_apply, skill))
            graph.add_edge(name, END)
        graph.add_edge(START, "recall")
        graph.add_conditional_edges("recall", lambda state: "clarify" if state["route"] == UNCLEAR else "route", ["clarify", "route"])
        graph.add_conditional_edges("route", lambda s: s["route"] if s["route"] in self.skills else "clarify", [*self.skills, "clarify"])
        graph.add_edge("clarify", END)
        return graph

    def _choose(self, question: str) -> str:
        (choice,) = self.route([question])
        return choice.route

    def ask(self, message: str, thread: str, config: dict[str, Any] | None = None) -> State:
        """Answer `message` in the conversation `thread` (a new one begins with its first message); returns the state after it.

        `config` goes to langgraph (callbacks, tags). Raises ValueError for an empty message or thread.
        """
        if not message.strip() or not thread.strip():
            raise ValueError(f"message={message!r}, thread={thread!r}: both need some text")
        settings = {**(config or {}), "configurable": {"thread_id": thread}}
        return self.graph.invoke({"messages": [HumanMessage(message)]}, settings)

    def history(self, thread: str) -> list[tuple[str, str]]:
        """(who, text) of every message of a conversation. Raises KeyError for a thread that nobody has spoken in."""
        messages = self.graph.get_state({"configurable": {"thread_id": thread}}).values.get("messages")
        if not messages:
            known = sorted({saved.config["configurable"]["thread_id"] for saved in self.graph.checkpointer.list(None)})
            raise KeyError(f"no conversation {thread!r}; there are: {', '.join(known) or 'none yet'}")
        return [(message.type, text_of(message)) for message in messages]


def said(state: State) -> str:
    """The assistant's last message."""
    return text_of(state["messages"][-1])


def _recall(state: State) -> State:
    question, subject = text_of(state["messages"][-1]).strip(), state.get("subject", "")
    if refers_back(question) is None:
        return {"question": question, "route": "", "sources": []}
    if not subject:
        return {"question": question, "route": UNCLEAR, "sources": []}
    return {"question": resolve(question, subject), "route": "", "sources": []}


def _clarify(documents: str, state: State) -> State:
    pronoun = None if state.get("subject") else refers_back(state["question"])
    text = f"I can look things up in {documents}, do sums, and search the almanac. What would you like to know?"
    if pronoun:
        text = f"What do you mean by '{pronoun}'? Please name it."
    return {"messages": [AIMessage(text)], "route": UNCLEAR}


def _apply(skill: Skill, state: State) -> State:
    try:
        reply = skill(state["question"])
    except Exception as error:  # whatever a skill raises: the conversation goes on, and the user reads why
        return {"messages": [AIMessage(f"I am sorry, that did not work ({type(error).__name__}: {error}).")], "route": APOLOGY}
    return {
        "messages": [AIMessage(reply.text)],
        "subject": reply.subject or state.get("subject", ""),
        "sources": list(reply.sources),
    }


def handbook_skill(rag: Runnable[str, dict[str, Any]]) -> Skill:
    """The RAG chain as a skill: the subject is the title of the best passage, the sources are the passages read."""

    def answer(question: str) -> Reply:
        found = rag.invoke(question)
        documents = found["documents"]
        title = subject_of(documents[0].metadata["title"]) if documents else ""
        return Reply(found["answer"], title, tuple(d.metadata["id"] for d in documents))

    return answer


def sums_skill(pal: Runnable[str, dict[str, Any]]) -> Skill:
    """The PAL chain as a skill; its source is the program that was run."""

    def answer(question: str) -> Reply:
        found = pal.invoke(question)
        text = found["answer"] if found["answer"] is not None else f"My program gave no answer ({found['outcome'].error})."
        return Reply(text, "", (found["program"],))

    return answer


def almanac_skill(agent: Runnable[str, dict[str, Any]]) -> Skill:
    """The ReAct agent as a skill: the subject is the last page it opened, the sources are all pages it opened."""

    def answer(question: str) -> Reply:
        found = agent.invoke(question)
        opened = [
            step.argument for step in steps_of(since_last_question(found["messages"])) if step.action == "Search" and step.kind == "ok"
        ]
        return Reply(found["answer"] or "I did not find it in the almanac.", opened[-1] if opened else "", tuple(opened))

    return answer

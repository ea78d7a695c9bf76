"""Whatever is put in the place of an argument, the chains answer with a sentence (see tests/bad_input.py)."""


from langchain_core.messages import AIMessage, HumanMessage

from llmsuite_lab.agents.tools import Argument, Tool, almanac_tools
from llmsuite_lab.chains import applications, assistant, routing
from llmsuite_lab.chains.chat_model import LabChatModel
from llmsuite_lab.chains.gathering import Gathered, GatheringModel
from llmsuite_lab.chains.retriever import LabRetriever
from llmsuite_lab.chains.trace import Recorder
from llmsuite_lab.reasoning.interpreter import Interpreter
from llmsuite_lab.world import almanac_frozen, handbook

LEFT_OUT = {
    "chains.applications.load": "loads the real model; LanguageModel.load checks its arguments",
    "chains.routing.Router.trained": "embeds hundreds of questions; the constructor is fed here",
    "chains.figures": "draws what other modules return: test_figures.py",
    "chains.chat_model.LabChatModel": "a pydantic model, whose fields pydantic checks; its methods: test_chat_model.py, test_batch_and_cache.py",
    "chains.completion_model.LabLLM": "as LabChatModel",
    "chains.fields.Checked": "as LabChatModel, and has no field",
    "chains.retriever.LabRetriever": "as LabChatModel",
    "chains.structured_output.StructuredOutput": "as LabChatModel: test_native_and_structured.py",
    **{
        f"chains.trace.Recorder.on_{what}_{when}": "called by LangChain, not by a person"
        for what in ("chain", "llm", "tool", "retriever")
        for when in ("start", "end", "error")
    },
    "chains.trace.Recorder.on_chat_model_start": "called by LangChain, not by a person",
    "chains.agent.ReActRules.wrap_tool_call": "called by LangChain, not by a person",
    "chains.agent.ReActRules.awrap_tool_call": "called by LangChain, not by a person",
    "chains.counting": "reads this package's own source: test_trace_and_counting.py",
}


def valid(folder, call, fresh, writer, retriever=None, embedder=None):
    """Valid calls, where the signature does not say enough."""
    world, sandbox = almanac_frozen.load_almanac(), Interpreter()
    lm = writer()
    chat = LabChatModel(language_model=lm)
    found = LabRetriever(retriever=retriever)

    def make_tools():
        return almanac_tools(world)

    tool = Tool("Name", "what it does", Argument("n"), str)
    schema = {"function": {"name": "Name", "parameters": {"properties": {"n": {"type": "string"}}}}}
    messages = [HumanMessage("Where is it?"), AIMessage("there")]
    state = {"messages": messages}
    talk = assistant.Assistant({"sums": lambda question: assistant.Reply("3")}, lambda questions: [routing.Choice("sums", 1.0, "x")] * len(questions))
    talk.ask("How many?", "t")
    recorder = Recorder()
    router = routing.Router(embedder, {"a": ["one"], "b": ["two"]})
    return {
        "chains.agent.langchain_tool": call(tool),
        "chains.agent.ReActRules": call(make_tools),
        "chains.agent.react_agent": call(chat, make_tools),
        "chains.agent.answer_of": call(state),
        "chains.agent.since_last_question": call(messages),
        "chains.agent.steps_of": call(messages),
        "chains.applications.rag_chain": call(found, lm),
        "chains.applications.pal_chain": call(lm, sandbox),
        "chains.applications.almanac_agent": call(lm, world),
        "chains.applications.almanac_chain": call(lm, world),
        "chains.applications.answer_all": call(applications.pal_chain(writer("answer = 3"), sandbox), ["How many?"]),
        "chains.assistant.Assistant": call({"sums": talk.skills["sums"]}, talk.route),
        "chains.assistant.Assistant.ask": call("How many?", "t", on=lambda: talk),
        "chains.assistant.Assistant.history": call("t", on=lambda: talk),
        "chains.assistant.said": call(state),
        "chains.assistant.handbook_skill": call(applications.rag_chain(found, lm)),
        "chains.assistant.sums_skill": call(applications.pal_chain(lm, sandbox)),
        "chains.assistant.almanac_skill": call(applications.almanac_chain(lm, world)),
        "chains.gathering.Gathered": call(list),
        "chains.gathering.Gathered.__call__": call("a", on=lambda: Gathered(list, 0.001)),
        "chains.gathering.Gathered.all": call(["a"], on=lambda: Gathered(list, 0.001)),
        "chains.gathering.GatheringModel": call(lm),
        "chains.gathering.GatheringModel.complete": call(["a"], on=lambda: GatheringModel(lm, 0.001)),
        "chains.identity.identity": call(lm),
        "chains.native_format.conversation_of": call(messages),
        "chains.native_format.role_of": call(messages[0]),
        "chains.native_format.message_of": call("An answer.", "call_0"),
        "chains.structured_output.with_request": call(messages, "more"),
        "chains.structured_output.reader": call(dict, {"properties": {"n": {"type": "string"}}}),
        "chains.memory.conversation": call(handbook.load()),
        "chains.react_format.text_of": call(messages[0]),
        "chains.react_format.prompt_of": call(messages),
        "chains.react_format.argument_text": call({"n": "x"}),
        "chains.react_format.arguments_of": call("x", schema),
        "chains.react_format.message_of": call(" I look.\nAction: Name[x]\n", "stop", [schema], "call_0"),
        "chains.retriever.as_document": call(retriever.retrieve(["price"], 1)[0][0]),
        "chains.routing.Router": call(embedder, {"a": ["one"], "b": ["two"]}),
        "chains.routing.Router.__call__": call(["one"], on=lambda: router),
        "chains.routing.training_questions": call(2),
        "chains.routing.held_out_questions": call(2),
        "chains.routing.measure": call(router, {"a": ["one"]}),
        "chains.trace.Recorder.rows": call(on=Recorder),
        "chains.trace.as_text": call(recorder),
        "chains.trace.as_mermaid": call(recorder),
    }


def test_every_callable_answers_a_wrong_argument_with_a_sentence(bad_input, tmp_path, monkeypatch, retriever, embedder):
    table = valid(tmp_path, bad_input.call, bad_input.fresh_random, bad_input.Writer, retriever, embedder)
    allowed = (KeyError,)  # Assistant.history, for a conversation that nobody began
    bad_input.check("llmsuite_lab.chains", tmp_path, monkeypatch, valid=table, left_out=LEFT_OUT, allowed=allowed)

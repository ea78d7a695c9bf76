"""LangChain's own standard suite for chat models, on the real model with a few tokens per answer.

The suite's tests of structured output and JSON mode want a model that writes JSON at the first try. The real one here, untuned and of 135 M parameters, does
not: they run on a scripted one. Features that are declared absent, and why: images, audio and PDF (it reads text only), overriding the model by name per call
(a `LabChatModel` holds one loaded model).
"""

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests
from langchain_tests.unit_tests.chat_models import ChatModelTests

from llmsuite_lab.chains.chat_model import LabChatModel

# The untuned model is shown the form of a turn, as notebook 04 shows it; neither tool nor argument is one of the suite's.
EXAMPLES = (
    "Question: What is the value of halve(8)? Use the tool.\nThought: I use halve.\nAction: halve[8]\nObservation: 4\n"
    "Thought: The tool says 4.\nAction: Finish[4]\n\n"
    "Question: What is the time in Oslo, Norway?\nThought: I use get_time.\nAction: get_time[Oslo, Norway]\nObservation: It is noon.\n"
    "Thought: The tool says noon.\nAction: Finish[noon]\n\n"
    "Question: Create a page for 'Ärzte & Söhne' and mention 東京.\nThought: I use new_page.\nAction: new_page[Ärzte & Söhne, 東京]\n"
    "Observation: done\nThought: The page is there.\nAction: Finish[done]\n\n"
)


class Declared:
    """What `LabChatModel` can do, for both suites."""

    has_structured_output = True
    supports_json_mode = True
    supports_image_inputs = False
    supports_audio_inputs = False
    supports_pdf_inputs = False
    supports_model_override = False
    has_tool_calling = True
    has_tool_choice = True
    returns_usage_metadata = True
    supports_anthropic_inputs = False

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return LabChatModel


class TestUnit(Declared, ChatModelUnitTests):
    """Construction, binding of tools, parameters for tracing."""

    @pytest.fixture(autouse=True)
    def _model(self, stand_in):
        self.language_model = stand_in()

    @property
    def chat_model_params(self) -> dict:
        return {"language_model": self.language_model}


class TestStructuredOutput(Declared, ChatModelTests):
    """Pydantic classes of both versions, TypedDict, JSON schema, optional fields and JSON mode, sync and async, on a model that writes JSON."""

    test_structured_output = ChatModelIntegrationTests.test_structured_output
    test_structured_output_async = ChatModelIntegrationTests.test_structured_output_async
    test_structured_output_pydantic_2_v1 = ChatModelIntegrationTests.test_structured_output_pydantic_2_v1
    test_structured_output_optional_param = ChatModelIntegrationTests.test_structured_output_optional_param
    test_json_mode = ChatModelIntegrationTests.test_json_mode

    @pytest.fixture(autouse=True)
    def _model(self, stand_in):
        self.language_model = stand_in(lambda prompt: ' {"setup": "Why do cats purr?", "punchline": "They run on mice."}')

    @property
    def chat_model_params(self) -> dict:
        return {"language_model": self.language_model}


@pytest.mark.real_model
class TestIntegration(Declared, ChatModelIntegrationTests):
    """Invoking, streaming, batching, conversations, usage, stop strings, tool calls and tool results, sync and async."""

    has_structured_output = False  # of the real model: see TestStructuredOutput
    supports_json_mode = False

    @pytest.fixture(autouse=True)
    def _model(self, lm):
        self.language_model = lm

    @property
    def chat_model_params(self) -> dict:
        return {"language_model": self.language_model, "examples": EXAMPLES}

    @property
    def standard_chat_model_params(self) -> dict:
        return {"temperature": 0.0, "max_tokens": 24, "stop": []}

    @pytest.mark.xfail(
        reason="the ReAct form does not list the tools: the untuned model repeats an example's; test_agent.py holds the loop", strict=False
    )
    def test_agent_loop(self, model: BaseChatModel) -> None:
        """As in the suite."""
        assert self.has_tool_calling
        super().test_agent_loop(model)

"""`stop="answer"` is one stop string in every model that writes, not six letters."""

import pytest

from llmsuite_lab.chains.chat_model import LabChatModel
from llmsuite_lab.chains.completion_model import LabLLM
from llmsuite_lab.chains.gathering import GatheringModel


@pytest.mark.parametrize("prompt", ["The river", "one"])
def test_one_string_is_one_stop_string(tiny_lm, prompt):
    free = tiny_lm.complete([prompt], max_new_tokens=20)[0].text
    word = free[3:6]
    wanted = free[: free.index(word)]
    assert tiny_lm.complete([prompt], max_new_tokens=20, stop=word)[0].text == wanted
    assert "".join(tiny_lm.stream(prompt, max_new_tokens=20, stop=word)) == wanted
    assert GatheringModel(tiny_lm).complete([prompt], max_new_tokens=20, stop=word)[0].text == wanted
    assert LabLLM(language_model=tiny_lm, max_tokens=20).invoke(prompt, stop=word) == wanted
    chat = LabChatModel(language_model=tiny_lm, max_tokens=20)
    said = chat.invoke(prompt).content
    assert chat.invoke(prompt, stop=said[3:6]).content == said[: said.index(said[3:6])]

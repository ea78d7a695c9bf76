"""What a LangChain object of ours is made of: an option that it has not is refused, where pydantic would drop it without a word.

    LabChatModel(language_model=lm, max_new_tokens=8)   →   ValueError: unknown option 'max_new_tokens'; did you mean 'max_tokens'? …

In production: `model_config = ConfigDict(extra="forbid")`.
"""

from typing import Any

from pydantic import BaseModel, model_validator

from llmsuite_lab.core.errors import unknown

REMOTE = ("timeout", "max_retries", "api_key", "base_url", "streaming")  # what LangChain gives any model; one in this process needs none of them
PARTS = {  # field → what it must be able to do, and what can
    "language_model": ("complete", "a loaded model, such as LanguageModel.load(…)"),
    "retriever": ("retrieve", "a Retriever, such as Corpus.read(…).retriever"),
}


class Checked(BaseModel):
    """A base that raises ValueError for options that the class has not, and for a part of another kind."""

    @model_validator(mode="before")
    @classmethod
    def _check_options(cls, values: Any) -> Any:
        known = {*cls.model_fields, *(field.alias for field in cls.model_fields.values()), *REMOTE}
        if isinstance(values, dict) and (strange := next((name for name in values if name not in known), None)):
            raise ValueError(unknown("option", strange, [name for name in cls.__annotations__ if not name.startswith("_")]))
        return values

    @model_validator(mode="after")
    def _check_parts(self) -> "Checked":
        for name, (method, instead) in PARTS.items():
            if name in type(self).model_fields and not callable(getattr(getattr(self, name), method, None)):
                raise ValueError(f"{name} is a {type(getattr(self, name)).__name__}, but it must be {instead}")
        return self

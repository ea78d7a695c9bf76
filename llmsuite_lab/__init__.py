"""LLMSuite Lab: a course on large language models that runs offline, with a real model, on two cores."""

__version__ = "0.1.0"

"""LLMSuite Lab: a course on large language models that runs offline, with a real model, on two cores."""

from llmsuite_lab.core.arguments import install

__version__ = "0.1.0"

install(__name__)

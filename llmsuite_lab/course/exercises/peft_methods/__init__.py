"""Exercises of notebooks 09, 10 and 11: LoRA from its start to its merge, soft prompts, and the comparison one can decide from."""

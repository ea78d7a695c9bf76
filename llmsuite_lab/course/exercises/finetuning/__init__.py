"""Exercises of notebook 08: the loss on completions, a split that does not leak, what a tuning made the model forget, and the mixture against it."""

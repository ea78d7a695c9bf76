"""Exercises of notebook 00: how answers are scored, how sure a score is, and how a model picks its words."""

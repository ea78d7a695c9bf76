"""Exercises of notebook 01: the parts of a transformer, from the causal mask to spotting an induction head."""

"""Exercises of notebook 03: read an answer, let chains vote, close PAL's loop, and look at a program before it runs."""

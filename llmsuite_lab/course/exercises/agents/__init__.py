"""Exercises of notebook 04: read an action strictly, refuse what is not allowed, and train on the model's own words only."""

"""Exercises on chains, routing and memory (notebook 05)."""

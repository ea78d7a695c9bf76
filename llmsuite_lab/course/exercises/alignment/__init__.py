"""Exercises of notebooks 12 and 13: a reward from preferences, PPO from its rewards to its losses, and DPO, ReST, RLOO and best of n beside it."""

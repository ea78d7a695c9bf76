"""Alignment (paper 6, 6.1): a reward model from preferences, and policies tuned against it: PPO, A2C, RLOO, GRPO, ReST, DPO, Q-learning, best of n.

Everything here runs on a small policy of our own as on a model of the zoo with a LoRA. In production: `trl` (reward model, DPO, RLOO, GRPO); it has no
PPO any more.
"""

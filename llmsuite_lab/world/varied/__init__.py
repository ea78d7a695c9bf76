"""Training worlds that are more varied than the course's first ones: more sentences, relations, forms of page, distractors and units.

They are for training alone. What skills are measured on is the frozen test of each, and `world.elsewhere`, by another author; `world.leakage` holds
the two against each other.
"""

"""Exercises of notebook 02: fusing rankings, averaging vectors of padded texts, packing a prompt into its budget."""

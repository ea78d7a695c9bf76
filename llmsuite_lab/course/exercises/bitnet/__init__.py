"""Exercises of notebook 07: absmean rounding, five trits in a byte, a product of whole numbers, gradients past the rounding, bytes and energy."""

"""One-bit language models: every weight of the blocks is -1, 0 or 1 (BitNet b1.58), how they are trained, packed, multiplied, and what that saves."""

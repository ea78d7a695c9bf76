"""Exercises of notebook 06: parts of a flat buffer, buckets, bytes by stage, what a ring sends, and one gradient from many micro-batches."""

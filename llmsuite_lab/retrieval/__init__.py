"""Retrieval augmented generation: chunk, embed, index, fuse, pack a prompt, answer with citations, or decline."""

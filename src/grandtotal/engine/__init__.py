"""Across companies: kits, consent, and the messages of a run over NVIDIA FLARE."""

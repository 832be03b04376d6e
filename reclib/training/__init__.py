"""Objectives, and the loops that optimise them."""

"""Figures: sizes and styles, one function a figure, and their export. Nothing here computes."""

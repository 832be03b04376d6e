"""Analyses: pure functions of a configuration that return tidy tables. Nothing here draws."""

"""Analyses: pure functions of a configuration that return tidy tables. Nothing here draws.

One package a study, `msl`, `faerec`, `eisam` and `tf_llmer`; what several of them use lies beside these.
"""

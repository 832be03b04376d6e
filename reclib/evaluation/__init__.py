"""Evaluation: ranks of targets, metrics per window first and then means, intervals, and the baselines."""

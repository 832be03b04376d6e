"""Losses and their parts as pure functions of tensors; they import torch only."""

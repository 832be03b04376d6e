"""The study of EISAM and of the two long tails: notebooks 20–26."""

"""Real and made data sets, from their files to windows of a history and its target."""

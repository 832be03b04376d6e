"""The study of TF-LLMER and of the geometry of item texts: notebooks 40–46."""

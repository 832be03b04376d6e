"""The study of the MSL paper: notebooks 04 and 10–19."""

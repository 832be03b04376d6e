"""Large language models as sequential recommenders: kernels, models and reproducible notebooks."""

__version__ = "0.1.0"

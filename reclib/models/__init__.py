"""Language models, pretrained or tiny and random, with LoRA."""

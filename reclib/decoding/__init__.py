"""From a language model to ranked items: constrained beam search, exact top K, exact scores of all items."""

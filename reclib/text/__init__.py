"""Item text as a language model sees it: prompts, tokens, and the trie of valid tokens."""

"""Text: corpora, tokenizers, and small language models made from them."""

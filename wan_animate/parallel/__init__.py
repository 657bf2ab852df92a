"""One clip over several cards: who computes which tokens, and how they exchange them."""

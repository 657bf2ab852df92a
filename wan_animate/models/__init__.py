"""Weight files: what there is, what is here, what fits the card, and fetching what the user confirms."""

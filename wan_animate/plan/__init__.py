"""What a job will cost, and what is wrong with its inputs, before anything runs."""

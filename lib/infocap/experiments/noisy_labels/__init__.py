"""Part 1: how much label noise is stored in the weights, and how to store less."""

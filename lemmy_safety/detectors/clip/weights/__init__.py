"""Weights of CLIP models: where they are found, how they are read, and whether there is a network to fetch them."""

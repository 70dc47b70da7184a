"""Weights of CLIP models: how to find and read them, and whether there is a network to fetch them."""

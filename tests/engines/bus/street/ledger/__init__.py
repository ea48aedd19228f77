"""Writes down what was sold."""

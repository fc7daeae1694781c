"""Shared foundations: checks of arguments and memory, quadrature, registration with JAX."""

"""What everything else stands on: checks of arguments, memory, quadrature, registration with JAX."""

"""Dev mode and the examples."""

"""What a rate network has learned."""

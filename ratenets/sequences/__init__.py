"""What a rate network is shown."""

"""The rate level: deep networks that learn with local rules."""

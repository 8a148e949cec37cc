"""Looking after the node itself: health, faults, commands, the button."""

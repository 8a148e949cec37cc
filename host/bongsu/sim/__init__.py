"""The virtual board, its peers and scenarios: Bongsu without hardware."""

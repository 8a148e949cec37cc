"""Frame, payload and topic codec of Bongsu: the one implementation, used by node, gateway and host."""

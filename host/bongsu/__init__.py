"""Bongsu: wireless fire alarm for traditional markets and homes; the host side (command ``bongsu``)."""

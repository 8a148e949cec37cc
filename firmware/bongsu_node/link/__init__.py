"""The node's link: Wi-Fi supervision, MQTT over TLS, and the exchange of frames and receipts with the receiver."""

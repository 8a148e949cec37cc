"""The node's firmware: what runs on an ESP32, from sensing/ over alarm/ to link/ (app.py wires the path)."""
